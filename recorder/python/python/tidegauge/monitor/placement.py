"""Where a model lies, and moving data there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def device_of(model: Any) -> Any:
    """The device of the model's first parameter or buffer, where its input goes; else the CPU.

    TorchScript makes constants of a frozen model's parameters: then it is that of the first of these.
    """
    import torch

    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    if isinstance(model, torch.jit.ScriptModule):
        graph: Any = model.graph
        for node in graph.findAllNodes("prim::Constant"):
            if node.hasAttribute("value") and node.kindOf("value") == "t" and node.t("value").dim():
                return node.t("value").device
    return torch.device("cpu")


def cuda_devices_of(model: Any) -> list[int]:
    """Numbers of the CUDA devices that hold the model's parameters and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return sorted({tensor.device.index or 0 for tensor in tensors if tensor.device.type == "cuda"})


def map_tensors(function: Callable[[Any], Any], value: Any) -> Any:
    """The value with `function` applied to the tensors in it; tuples, lists and mappings keep their types."""
    import torch

    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, part) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, part) for part in value)
    if isinstance(value, Mapping):
        return rebuilt(value, {key: map_tensors(function, part) for key, part in value.items()})
    return value


def rebuilt(mapping: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    """A mapping of the same type with these parts; a dict where the type cannot be made of them."""
    try:
        return type(mapping)(parts)  # type: ignore[call-arg]
    except TypeError:
        try:
            return type(mapping)(**parts)
        except TypeError:
            return parts
