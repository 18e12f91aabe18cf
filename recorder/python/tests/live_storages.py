"""An independent count of what torch holds on the CPU: every storage that any operation has returned."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class LiveStorages(TorchDispatchMode):
    """`with LiveStorages() as live:` … `live.bytes()`. What is alive when it is made counts as well."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, tuple[StorageWeakRef, int]] = {}
        for thing in gc.get_objects():
            if issubclass(type(thing), torch.Tensor):
                self._see(thing)
                if thing.is_leaf and thing.grad is not None:
                    self._see(thing.grad)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # Arguments too: operations can make storages larger in place.
        torch.utils._pytree.tree_map_only(torch.Tensor, self._see, (args, kwargs or {}, result))
        return result

    def _see(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type == "cpu" and tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            if storage.data_ptr():
                self._sizes[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return tensor

    def bytes(self) -> int:
        """Of the storages that are alive."""
        self._sizes = {key: held for key, held in self._sizes.items() if not held[0].expired()}
        return sum(size for _, size in self._sizes.values())
