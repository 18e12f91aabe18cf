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
Block = tuple[int, int]


class Tags:
    """Tells the recorder what blocks are for."""

    def __init__(self) -> None:
        #: Whose blocks are recorded: those of the host, those of accelerators. Others are not worth a record.
        self.has_host = False
        self.has_devices = False
        #: Where each parameter lay when it was looked at last, by its identity.
        self._parameters: dict[int, Block] = {}
        #: For each optimizer, the state that was tagged: by parameter and name, the tensor and its address.
        self._state: dict[int, dict[tuple[int, Any], tuple[int, int]]] = {}

    def parameters(self, module: Module) -> None:
        """Tags parameters and buffers of a module and of those within it."""
        try:
            for tensor in [*module.parameters(), *module.buffers()]:
                self._parameter(tensor)
        except Exception as error:
            failed("tags of parameters", error)

    def inputs(self, batch: Iterable[Tensor]) -> None:
        """Tags tensors that a model is called with, or that a data loader has brought, unless they were
        computed.
        """
        try:
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
            tagged: set[Block] = set()
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    gradient = parameter.grad
                    if gradient is None:
                        continue
                    for part in dense_parts(gradient):
                        block = block_of(part)
                        # Gradients can share a block: the buckets of data parallel training.
                        if block is not None and block not in tagged:
                            tagged.add(block)
                            self._tag(block, "gradient")
                    self._parameter(parameter)
        except Exception as error:
            failed("tags of gradients", error)

    def optimizer_state(self, optimizer: Any) -> None:
        """Tags what an optimizer keeps, as far as that is new."""
        try:
            known = self._state.get(id(optimizer))
            if known is None:
                known = self._state[id(optimizer)] = {}
                weakref.finalize(optimizer, self._state.pop, id(optimizer), None)
            for parameter, state in optimizer.state.items():
                if not hasattr(state, "items"):
                    continue
                owner = id(parameter)
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        # A tensor whose type has no address is asked for it once.
                        mark = (id(value), value.data_ptr() if value.layout is torch.strided else 0)
                        if known.get((owner, name)) != mark:
                            known[(owner, name)] = mark
                            self._state_tensor(value)
                    elif isinstance(value, (list, tuple, dict)):
                        for tensor in tensors_in(value):
                            self._state_tensor(tensor)
        except Exception as error:
            failed("tags of optimizer state", error)

    def _tag(self, block: Block, category: str) -> None:
        if self.has_host if block[0] < 0 else self.has_devices:
            _annotate(*block, category)

    def _parameter(self, parameter: Tensor) -> None:
        for part in dense_parts(parameter):
            block = block_of(part)
            if block is not None and self._parameters.get(id(parameter)) != block:
                self._parameters[id(parameter)] = block
                self._tag(block, "parameter")

    def _state_tensor(self, tensor: Tensor) -> None:
        for part in dense_parts(tensor):
            block = block_of(part)
            if block is not None:
                self._tag(block, "optimizer_state")
