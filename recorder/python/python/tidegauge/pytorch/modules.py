"""Rows of the table `modules`."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.nn import Module

from .. import _native
from .tensors import tensors_in

_WithoutTorchFunction = torch._C.DisableTorchFunction


def shapes_of(value: Any) -> tuple[tuple[int, ...], ...]:
    """Shapes of the tensors in what a module was called with or has returned."""
    try:
        with _WithoutTorchFunction():
            return tuple(tuple(int(size) for size in tensor.shape) for tensor in tensors_in(value))
    except Exception:  # sizes that are not known (nested tensors)
        return ()


def row(
    module: Module,
    path: str,
    inputs: tuple[tuple[int, ...], ...] | None,
    outputs: tuple[tuple[int, ...], ...] | None,
) -> None:
    """Records what a module is, and the shapes that it was called with and has returned where it was called.

    Its own parameters and buffers count, not those of the modules within it.
    """
    told: dict[str, Any] = {"module": path, "type": type(module).__qualname__}
    try:
        # The program's own __torch_function__ need not see what is asked here.
        with _WithoutTorchFunction():
            told.update(_weights(module))
    except Exception:  # parameters of lazy modules have no size yet
        pass
    if inputs is not None:
        told["inputs"] = json.dumps(inputs)
    if outputs is not None:
        told["outputs"] = json.dumps(outputs)
    _native.module(json.dumps({name: value for name, value in told.items() if value is not None}))


def _weights(module: Module) -> dict[str, Any]:
    own = {name: parameter for name, parameter in module._parameters.items() if parameter is not None}
    buffers = {name: buffer for name, buffer in module._buffers.items() if buffer is not None}
    tensors = [*own.values(), *buffers.values()]
    return {
        "parameters": sum(parameter.numel() for parameter in own.values()),
        "parameter_bytes": sum(parameter.numel() * parameter.element_size() for parameter in own.values()),
        "buffers": sum(buffer.numel() for buffer in buffers.values()),
        "buffer_bytes": sum(buffer.numel() * buffer.element_size() for buffer in buffers.values()),
        "dtypes": ",".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})) or None,
        "shapes": json.dumps({name: list(parameter.shape) for name, parameter in own.items()}),
    }
