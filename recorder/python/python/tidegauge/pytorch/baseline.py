"""What is alive when recording of allocations begins.

Blocks that torch allocated before are found by their tensors: those that Python knows, and gradients, states
and parameters of the modules and optimizers among them. Each block that the CPU's allocator has made is told
to the recorder, and handed over to our allocator so that its free is seen. Blocks that only C++ holds
(tensors saved for backward, in a graph that is alive at that moment) are not found; they are neither counted
now nor when they are freed.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from .notes import note
from .tensors import tensors_in

#: Most of what is referred to, and nothing follows from it.
_WITHOUT_REFERENCES = frozenset((int, float, complex, bool, str, bytes, type(None)))
#: In the order in which a block's purpose is decided.
_PURPOSES = ("parameter", "gradient", "optimizer_state", None)


class Baseline:
    """Storages on the CPU that are alive, with what they are for. Keeps them alive until they are told.

    What the program's own classes answer with an exception is left out, and nothing else for its sake.
    """

    def __init__(self, models: Sequence[Any], optimizers: Sequence[Any]) -> None:
        self._found: dict[str | None, list[Any]] = {purpose: [] for purpose in _PURPOSES}
        self.storages: list[tuple[Any, str | None]] = []
        # A subclass of Tensor may do anything when it is asked for an attribute.
        with torch._C.DisableTorchFunction():
            for thing in _objects([*models, *optimizers]):
                _each(self._sort, thing)
            for model in models:
                _each(self._module, model)
            for optimizer in optimizers:
                _each(self._optimizer, optimizer)
            self._keep()

    def _sort(self, thing: Any) -> None:
        # Of the type, not of the object: proxies answer isinstance with what they stand for, or do work.
        kind = type(thing)
        if issubclass(kind, Tensor):
            self._found["parameter" if issubclass(kind, Parameter) else None].append(thing)
            if thing.is_leaf and thing.requires_grad:
                self._found["gradient"].append(thing.grad)
        elif issubclass(kind, torch.UntypedStorage):
            self._found[None].append(thing)
        elif issubclass(kind, Module):
            self._module(thing)
        elif issubclass(kind, torch.optim.Optimizer):
            self._optimizer(thing)

    def _module(self, module: Any) -> None:
        self._found["parameter"].extend([*module.parameters(), *module.buffers()])

    def _optimizer(self, optimizer: Any) -> None:
        for state in list(getattr(optimizer, "state", {}).values()):
            self._found["optimizer_state"].extend(tensors_in(state))

    def _keep(self) -> None:
        seen: set[int] = set()
        for purpose in _PURPOSES:
            for thing in self._found.pop(purpose):
                storage = _plain_cpu_storage(thing)
                if storage is not None and storage._cdata not in seen:
                    seen.add(storage._cdata)
                    self.storages.append((storage, purpose))


def _each(look: Callable[[Any], None], thing: Any) -> None:
    try:
        look(thing)
    except Exception:  # half made, or of a class that objects
        pass


def _objects(given: list[Any]) -> list[Any]:
    """What Python's garbage collector knows. It does not tell what `gc.freeze` has put aside: that is found
    by references from what it tells, from modules that are imported, and from functions under way.
    """
    objects = gc.get_objects()
    if gc.get_freeze_count() == 0:
        return objects
    ahead: list[Any] = [*given, *objects, sys.modules, *sys._current_frames().values()]
    own = {id(ahead), id(objects)}
    seen: set[int] = set(own)
    reached: list[Any] = []
    while ahead:
        new = []
        for thing in ahead:
            if id(thing) not in seen:
                seen.add(id(thing))
                new.append(thing)
        reached.extend(new)
        ahead = [thing for thing in gc.get_referents(*new) if type(thing) not in _WITHOUT_REFERENCES]
        seen.update((id(ahead), id(new)))
    note("gc.freeze was called before: what was alive then is known as far as Python's references lead to it")
    return reached


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
