"""`StreamingInference`: predictions for an input that is too large for one forward pass."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from . import trace
from .cuda import release_cached_memory
from .placement import device_of, map_tensors, rebuilt


class StreamingInference:
    """Runs a model over chunks of its input, and keeps only their results."""

    def __init__(self, model: Any, chunk_size: int = 1000) -> None:
        """`chunk_size` is in samples; raises ValueError unless it is a whole number above 0."""
        self.model = model
        self.chunk_size = _samples(chunk_size)

    def predict_large_batch(self, X: Any) -> Any:
        """The model's results for `X` (samples along its first dimension; a tensor or an array), on the CPU.

        Chunks go to the model's device one by one, in evaluation mode and without gradients; each is a span
        `chunk` in the trace. Afterwards every module is in the mode that it was in. Results that are tuples,
        lists or mappings are joined part by part: tensors along their first dimension, numbers (tensors
        without dimensions) to one per chunk, and of anything else there is a list of what the chunks gave, or
        None if that was None throughout. For an empty input the model is asked what it makes of no samples;
        one that cannot tell gives an empty tensor.
        """
        import torch

        inputs = X if isinstance(X, torch.Tensor) else torch.as_tensor(X)
        device = device_of(self.model)
        # A module that TorchScript has frozen is in evaluation mode for good, and has no such attribute.
        modes = [(module, module.training) for module in self.model.modules() if hasattr(module, "training")]
        self.model.eval()
        try:
            with torch.no_grad():
                if inputs.shape[0] == 0:
                    return self._of_nothing(inputs, device)
                results = [
                    self._predict(inputs[first : first + self.chunk_size], device)
                    for first in range(0, inputs.shape[0], self.chunk_size)
                ]
        finally:
            for module, is_training in modes:
                module.training = is_training
            # Once: after each chunk it would wait for the device, and the next chunk takes the memory anyway.
            release_cached_memory()
        return _joined(results)

    def _predict(self, chunk: Any, device: Any) -> Any:
        with trace.span("chunk"):
            result = self.model(chunk.to(device))
            return map_tensors(lambda part: part.cpu(), result)

    def _of_nothing(self, inputs: Any, device: Any) -> Any:
        try:
            return self._predict(inputs, device)
        except Exception:
            return inputs.new_empty((0,), device="cpu")


def _samples(chunk_size: Any) -> int:
    try:
        samples = operator.index(chunk_size)
    except TypeError:
        samples = 0
    if isinstance(chunk_size, bool) or samples < 1:
        raise ValueError(f"the chunk size must be a number of samples above 0, not {chunk_size!r}")
    return samples


def _joined(results: list[Any]) -> Any:
    import torch

    first = results[0]
    if all(isinstance(result, torch.Tensor) for result in results):
        return torch.cat(results) if first.dim() else torch.stack(results)
    if all(result is None for result in results):
        return None
    if all(type(result) is type(first) for result in results):
        if isinstance(first, (tuple, list)) and len({len(result) for result in results}) == 1:
            parts = [_joined(list(part)) for part in zip(*results)]
            return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
        if isinstance(first, Mapping) and all(result.keys() == first.keys() for result in results):
            return rebuilt(first, {key: _joined([result[key] for result in results]) for key in first})
    return results
