"""`StreamingInference`: chunks, their results, and the model afterwards."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy
import pytest
import torch
from tidegauge.monitor import StreamingInference
from tidegauge.monitor.placement import device_of
from torch import nn

Pair = namedtuple("Pair", ["mean", "count"])


def test_a_frozen_model_predicts() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).eval()
    frozen = torch.jit.freeze(torch.jit.script(model))
    inputs = torch.randn(10, 4)
    assert torch.allclose(StreamingInference(frozen, 3).predict_large_batch(inputs), model(inputs))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = frozen

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x)

    outer = Outer().train()
    assert torch.allclose(StreamingInference(outer, 3).predict_large_batch(inputs), model(inputs))
    assert outer.training


def test_input_goes_to_where_a_frozen_model_s_constants_lie() -> None:
    with torch.device("meta"):
        model = nn.Linear(4, 2).eval()
    frozen = torch.jit.freeze(torch.jit.trace(model, torch.ones(1, 4, device="meta")))
    assert not list(frozen.parameters()) and device_of(frozen).type == "meta"


@pytest.mark.parametrize("size", [numpy.int64(4), numpy.uint8(4), torch.tensor(4)])
def test_a_chunk_size_is_any_whole_number(size: Any) -> None:
    model = Recorder(lambda y, x: y)
    StreamingInference(model, chunk_size=size).predict_large_batch(torch.ones(10, 4))
    assert [count for count, *_ in model.calls] == [4, 4, 2]


class Recorder(nn.Module):
    """Remembers the size and mode of each call."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.calls: list[tuple[int, bool, bool]] = []
        self.shape = shape

    def forward(self, x: torch.Tensor) -> Any:
        self.calls.append((len(x), self.training, torch.is_grad_enabled()))
        return self.shape(self.layer(x), x)


@pytest.mark.parametrize(("samples", "chunks"), [(10, [4, 4, 2]), (8, [4, 4]), (3, [3]), (1, [1])])
def test_chunks_give_what_the_whole_gives(samples: int, chunks: list[int]) -> None:
    model = Recorder(lambda y, x: y)
    inputs = torch.randn(samples, 4)
    result = StreamingInference(model, chunk_size=4).predict_large_batch(inputs)
    assert model.calls == [(size, False, False) for size in chunks]
    assert torch.allclose(result, model.layer(inputs)) and not result.requires_grad
    assert result.device.type == "cpu"


def test_every_module_is_in_its_mode_afterwards() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    model.train()
    model[2].eval()
    inference = StreamingInference(model)
    first = inference.predict_large_batch(torch.ones(3, 4))
    assert torch.equal(first, inference.predict_large_batch(torch.ones(3, 4))), "no dropout"
    assert [module.training for module in model.modules()] == [True, True, True, False]
    with pytest.raises(RuntimeError):
        inference.predict_large_batch(torch.ones(3, 5))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda y, x: (y, x), lambda y, x: (y, x)),
        (lambda y, x: [y, (x, None)], lambda y, x: [y, (x, None)]),
        (lambda y, x: {"logits": y, "hidden": x}, lambda y, x: {"logits": y, "hidden": x}),
        (lambda y, x: OrderedDict(a=y), lambda y, x: OrderedDict(a=y)),
        (lambda y, x: Pair(y, x.sum() * 0), lambda y, x: Pair(y, torch.zeros(3))),
        (lambda y, x: (y, "text"), lambda y, x: (y, ["text"] * 3)),
    ],
)
def test_results_of_several_parts_are_joined(shape: Any, expected: Any) -> None:
    model = Recorder(shape)
    inputs = torch.randn(10, 4)
    result = StreamingInference(model, chunk_size=4).predict_large_batch(inputs)
    with torch.no_grad():
        whole = expected(model.layer(inputs), inputs)
    assert type(result) is type(whole)
    torch.testing.assert_close(result, whole) if "text" not in str(whole) else None
    if "text" in str(whole):
        assert result[1] == whole[1] and torch.allclose(result[0], whole[0])


def test_outputs_of_transformers_stay_what_they_are() -> None:
    from transformers.modeling_outputs import SequenceClassifierOutput

    model = Recorder(lambda y, x: SequenceClassifierOutput(logits=y))
    result = StreamingInference(model, chunk_size=4).predict_large_batch(torch.ones(10, 4))
    assert isinstance(result, SequenceClassifierOutput) and result.logits.shape == (10, 2)


def test_an_empty_input_gives_an_empty_result() -> None:
    model = Recorder(lambda y, x: {"logits": y})
    result = StreamingInference(model).predict_large_batch(torch.ones(0, 4))
    assert result["logits"].shape == (0, 2)

    def refuse(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x.max()

    refusing = Recorder(refuse)
    refusing.train()
    assert StreamingInference(refusing).predict_large_batch(torch.ones(0, 4)).shape == (0,)
    assert refusing.training


def test_arrays_are_taken_and_models_without_weights() -> None:
    result = StreamingInference(nn.ReLU(), chunk_size=2).predict_large_batch(numpy.array([-1.0, 2.0, 3.0]))
    assert result.tolist() == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("size", [0, -5, 2.5, True, "7"])
def test_a_chunk_has_samples(size: Any) -> None:
    with pytest.raises(ValueError, match="above 0"):
        StreamingInference(nn.ReLU(), chunk_size=size)
