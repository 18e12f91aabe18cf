"""What blocks are for: parameters, gradients, optimizer state, inputs, told by the addresses of storages.

A tag holds for the whole life of a block, so it may come late: gradients are tagged when the optimizer is
about to use them, its state when it has used it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .. import _native
from .notes import failed
from .tensors import block_of, dense_parts, tensors_in

_annotate = _native.annotate
_WithoutTorchFunction = torch._C.DisableTorchFunction
Block = tuple[int, int]


class _Optimizer:
    """What of an optimizer has been tagged. Identities are those of objects that it holds; none is kept
    longer, since the next object may have it, at the same address.

    Weak references would tell that better, but torch.utils.swap_tensors refuses tensors that have any.
    """

    def __init__(self, reference: weakref.ref[Any]) -> None:
        self.reference = reference
        #: Where each parameter lay in the last step that had a gradient for it.
        self.parameters: dict[int, Block] = {}
        #: By parameter and name, the identity and the address of each tensor.
        self.state: dict[int, dict[Any, tuple[int, int]]] = {}


class Tags:
    """Tells the recorder what blocks are for."""

    def __init__(self) -> None:
        #: Whose blocks are recorded: those of the host, those of accelerators. Others are not worth a record.
        self.has_host = False
        self.has_devices = False
        self._optimizers: dict[int, _Optimizer] = {}

    def parameters(self, module: Module) -> None:
        """Tags parameters and buffers of a module and of those within it."""
        try:
            with _WithoutTorchFunction():
                for tensor in [*module.parameters(), *module.buffers()]:
                    for part in dense_parts(tensor):
                        block = block_of(part)
                        if block is not None:
                            self._tag(block, "parameter")
        except Exception as error:
            failed("tags of parameters", error)

    def inputs(self, batch: Iterable[Tensor]) -> None:
        """Tags tensors that a model is called with, or that a data loader has brought, unless they were
        computed.
        """
        try:
            with _WithoutTorchFunction():
                for tensor in batch:
                    if tensor.grad_fn is None and not tensor.requires_grad:
                        block = block_of(tensor)
                        if block is not None:
                            self._tag(block, "input")
        except Exception as error:
            failed("tags of inputs", error)

    def gradients(self, optimizer: Any) -> None:
        """Tags the gradients that an optimizer is about to use, and parameters that have moved."""
        try:
            with _WithoutTorchFunction():
                self._gradients(optimizer, self._known(optimizer))
        except Exception as error:
            failed("tags of gradients", error)

    def optimizer_state(self, optimizer: Any) -> None:
        """Tags what an optimizer keeps, as far as that is new."""
        try:
            with _WithoutTorchFunction():
                self._optimizer_state(optimizer, self._known(optimizer))
        except Exception as error:
            failed("tags of optimizer state", error)

    def _known(self, optimizer: Any) -> _Optimizer:
        key = id(optimizer)
        known = self._optimizers.get(key)
        if known is None:
            known = _Optimizer(weakref.ref(optimizer, lambda _: self._optimizers.pop(key, None)))
            self._optimizers[key] = known
        return known

    def _gradients(self, optimizer: Any, known: _Optimizer) -> None:
        tagged: set[Block] = set()
        state = getattr(optimizer, "state", {})
        parameters: dict[int, Block] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                owner = id(parameter)
                if owner in known.state and parameter not in state:
                    # Emptied: what comes next may lie where the former state lay.
                    del known.state[owner]
                gradient = parameter.grad
                if gradient is None:
                    continue
                for part in dense_parts(gradient):
                    block = block_of(part)
                    # Gradients can share a block: the buckets of data parallel training.
                    if block is not None and block not in tagged:
                        tagged.add(block)
                        self._tag(block, "gradient")
                for part in dense_parts(parameter):
                    block = block_of(part)
                    if block is not None:
                        parameters[owner] = block
                        if known.parameters.get(owner) != block:
                            self._tag(block, "parameter")
        known.parameters = parameters

    def _optimizer_state(self, optimizer: Any, known: _Optimizer) -> None:
        former, known.state = known.state, {}
        for parameter, state in optimizer.state.items():
            if not hasattr(state, "items"):
                continue
            owner = id(parameter)
            marks = known.state[owner] = former.get(owner, {})
            for name, value in state.items():
                if isinstance(value, Tensor):
                    # A tensor whose type has no address is asked for it once.
                    mark = (id(value), value.data_ptr() if value.layout is torch.strided else 0)
                    if marks.get(name) != mark:
                        marks[name] = mark
                        self._state_tensor(value)
                elif isinstance(value, (list, tuple, dict)):
                    for tensor in tensors_in(value):
                        self._state_tensor(tensor)

    def _tag(self, block: Block, category: str) -> None:
        if self.has_host if block[0] < 0 else self.has_devices:
            _annotate(*block, category)

    def _state_tensor(self, tensor: Tensor) -> None:
        for part in dense_parts(tensor):
            block = block_of(part)
            if block is not None:
                self._tag(block, "optimizer_state")
