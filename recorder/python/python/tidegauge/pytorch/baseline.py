"""What is alive when recording of allocations begins.

Blocks that torch allocated before are found by their tensors: those that Python knows, and gradients, states
and parameters of the modules and optimizers among them. Each block that the CPU's allocator has made is told
to the recorder, and handed over to our allocator so that its free is seen. Blocks that only C++ holds
(tensors saved for backward, in a graph that is alive at that moment) are not found; they are neither counted
now nor when they are freed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

#: In the order in which a block's purpose is decided.
_PURPOSES = ("parameter", "gradient", "optimizer_state", None)


class Baseline:
    """Storages on the CPU that are alive, with what they are for. Keeps them alive until they are told."""

    def __init__(self, models: Iterable[Any], optimizers: Iterable[Any]) -> None:
        found: dict[str | None, list[Any]] = {purpose: [] for purpose in _PURPOSES}
        modules, steppers = list(models), list(optimizers)
        for thing in gc.get_objects():
            # Of the type, not of the object: proxies answer isinstance with what they stand for, or do work.
            kind = type(thing)
            if issubclass(kind, Tensor):
                found["parameter" if issubclass(kind, Parameter) else None].append(thing)
                if thing.is_leaf and thing.requires_grad:
                    found["gradient"].append(thing.grad)
            elif issubclass(kind, torch.UntypedStorage):
                found[None].append(thing)
            elif issubclass(kind, Module):
                modules.append(thing)
            elif issubclass(kind, torch.optim.Optimizer):
                steppers.append(thing)
        for module in modules:
            found["parameter"].extend([*module.parameters(), *module.buffers()])
        for optimizer in steppers:
            found["optimizer_state"].extend(_state_of(optimizer))
        self.storages: list[tuple[Any, str | None]] = []
        self._keep(found)

    def _keep(self, found: dict[str | None, list[Any]]) -> None:
        seen: set[int] = set()
        for purpose in _PURPOSES:
            for thing in found[purpose]:
                storage = _plain_cpu_storage(thing)
                if storage is not None and storage._cdata not in seen:
                    seen.add(storage._cdata)
                    self.storages.append((storage, purpose))


def _state_of(optimizer: Any) -> Iterator[Any]:
    from .tensors import tensors_in

    for state in list(getattr(optimizer, "state", {}).values()):
        yield from tensors_in(state)


def _plain_cpu_storage(thing: Any) -> Any:
    """The storage of a tensor on the CPU; None of all that has none, or an unusual one."""
    try:
        if thing is None:
            return None
        if not isinstance(thing, torch.UntypedStorage):
            if not thing.is_cpu or thing.layout is not torch.strided:
                return None
            thing = thing.untyped_storage()
        return thing if thing.device.type == "cpu" and thing.nbytes() > 0 else None
    except Exception:
        return None
