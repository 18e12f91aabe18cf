"""`EpochMemoryMonitor`: batches and epochs, losses of all kinds, configurations, and black-box optimizers."""

from __future__ import annotations

import argparse
import dataclasses
import re
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from fake_cuda import FakeCuda, cuda
from phi import math
from tidegauge.monitor import EpochMemoryMonitor, monitor_loss
from tidegauge.monitor.growth import Growth
from tidegauge.monitor.loss import loss_text, loss_value

__all__ = ["cuda"]

MB = 1024**2


def quiet(verbose_batches: int, capsys: pytest.CaptureFixture[str]) -> EpochMemoryMonitor:
    """A monitor whose first line has been read."""
    monitor = EpochMemoryMonitor(enabled=True, verbose_batches=verbose_batches)
    assert (
        capsys.readouterr().out
        == f"Memory monitoring enabled (verbose for first {verbose_batches} batches)\n"
    )
    return monitor


def test_the_lines_of_an_epoch(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The figures of the guide's example, on a stand-in for the GPU.
    monitor = quiet(2, capsys)
    for _ in range(2):
        monitor.on_epoch_start()
        cuda.alloc(2880.3)
        cuda.reserved = [3242 * MB]
        cuda.free(2857.2)
        for number, loss in enumerate([0.014553, 0.013612, 0.5]):
            monitor.on_batch_end(number, loss)
        monitor.on_epoch_end()
        cuda.free(23.1)
        printed = capsys.readouterr().out
        lines = [re.sub(r"CPU \d+\.\d MB", "CPU x MB", line) for line in printed.splitlines()]
        assert lines == [
            "  Batch 0: GPU 23.1 MB, CPU x MB, loss=0.014553",
            "  Batch 1: GPU 23.1 MB, CPU x MB, loss=0.013612",
            "  Epoch end: GPU 23.1 MB allocated, 3242.0 MB reserved, peak 2880.3 MB",
        ]


def test_the_peak_is_that_of_the_epoch(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in. The first epoch's peak is not the second's; and an epoch that was left by an
    # exception does not count for the next.
    monitor = quiet(0, capsys)
    for peak_mb in (900, 50):
        monitor.on_epoch_start()
        cuda.alloc(peak_mb)
        cuda.free(peak_mb)
    monitor.on_epoch_end()
    assert capsys.readouterr().out.endswith("peak 50.0 MB\n")


def test_a_disabled_monitor_does_nothing(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in that would notice.
    monitor = EpochMemoryMonitor(enabled=False)

    def refuse(device: int | None = None) -> Any:
        raise AssertionError("read while disabled")

    cuda.memory_allocated = cuda.max_memory_allocated = cuda.reset_peak_memory_stats = refuse  # type: ignore
    monitor.on_epoch_start()
    monitor.on_batch_end(0, None)
    monitor.on_loss_evaluation(0, 1.0)
    monitor.on_optimization_end()
    monitor.on_epoch_end()
    with monitor.monitor_loss(lambda x: x + 1) as function:
        assert function(1) == 2
    assert capsys.readouterr().out == ""


def test_calls_out_of_order_are_borne(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = quiet(1, capsys)
    monitor.on_epoch_end()
    monitor.on_optimization_end()
    assert capsys.readouterr().out == ""
    monitor.on_batch_end(0, 1.0)
    monitor.on_epoch_end()
    batch, end = capsys.readouterr().out.splitlines()
    assert batch.startswith("  Batch 0: GPU 0.0 MB, CPU ")
    assert end == "  Epoch end: GPU 0.0 MB allocated, 0.0 MB reserved, peak 0.0 MB"


def test_numbers_that_are_none_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = quiet(3, capsys)
    given: list[Any] = [None, "x", object(), float("nan"), [5]]
    for batch_idx in given:
        monitor.on_batch_end(batch_idx)
    assert re.findall(r"Batch (\S+):", capsys.readouterr().out) == ["0", "1", "2"]
    for i in given:
        monitor.on_loss_evaluation(i, 1.0)
    assert re.findall(r"evaluation (\S+):", capsys.readouterr().out) == ["0", "1", "2"]


def batch_of_one() -> Any:
    """A loss as PhiFlow gives it: of each element of a batch."""
    return math.tensor([288.784], math.batch("batch"))


def torch_backed(requires_grad: bool) -> Any:
    """A loss as PhiFlow computes it with torch."""
    return math.wrap(torch.tensor(0.25, requires_grad=requires_grad))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    ("make", "text", "value"),
    [
        (lambda: 0.014553, "0.014553", 0.014553),
        (lambda: 3, "3.000000", 3.0),
        (lambda: float("nan"), "nan", float("nan")),
        (lambda: float("inf"), "inf", float("inf")),
        (lambda: torch.tensor(0.5), "0.500000", 0.5),
        (lambda: torch.tensor(0.5, requires_grad=True) * 2, "1.000000", 1.0),
        (lambda: torch.tensor([[0.5]], dtype=torch.bfloat16), "0.500000", 0.5),
        (lambda: torch.tensor([1.0, 2.0], requires_grad=True), "tensor([1., 2.])", 1.5),
        (lambda: numpy.float32(0.25), "0.250000", 0.25),
        (lambda: numpy.float64(0.25), "0.250000", 0.25),
        (lambda: numpy.array([0.25]), "0.250000", 0.25),
        (lambda: numpy.array([0.25, 0.75]), "[0.25 0.75]", 0.5),
        (lambda: math.tensor(0.14532), "0.145320", 0.14532),
        (batch_of_one, "(288.784) along batchᵇ", 288.784),
        (lambda: torch_backed(False), "0.250000", 0.25),
        (lambda: torch_backed(True), "0.250000", 0.25),
        (lambda: "unknown", "unknown", None),
        (lambda: torch.empty((), device="meta"), None, None),
    ],
)
def test_losses_are_read_as_they_are(make: Any, text: str | None, value: float | None) -> None:
    loss = make()
    if text is not None:
        assert loss_text(loss) == text
    assert isinstance(loss_text(loss), str)
    for may_wait in (True, False):
        assert loss_value(loss, may_wait) == (
            None if value is None else pytest.approx(value, rel=1e-6, nan_ok=True)
        )


def test_phiflow_losses_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = quiet(5, capsys)
    monitor.on_batch_end(0, batch_of_one())
    monitor.on_batch_end(1)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  Batch 0: GPU 0\.0 MB, CPU \d+\.\d MB, loss=\(288\.784\) along batchᵇ", first)
    assert re.fullmatch(r"  Batch 1: GPU 0\.0 MB, CPU \d+\.\d MB", second)


class LossOnDevice(torch.Tensor):
    """Stands in for a loss on a GPU, of which there is none: whoever reads its number waits, and is
    counted."""

    reads = 0

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.__bool__, torch.Tensor.cpu):
            cls.reads += 1
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_loss_on_the_gpu_is_waited_for_only_where_it_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both the GPU and the open trace are stand-ins: what counts is whether the number is asked for.
    from tidegauge.monitor import trace

    monkeypatch.setattr(trace, "is_open", lambda: True)
    loss = torch.tensor(0.5).as_subclass(LossOnDevice)
    monitor = quiet(2, capsys)
    for number in range(5):
        LossOnDevice.reads = 0
        monitor.on_batch_end(number, loss)
        assert (LossOnDevice.reads > 0) == (number < 2), number
    assert capsys.readouterr().out.count("loss=0.500000") == 2


@dataclasses.dataclass
class Parameters:
    """As a configuration may be kept."""

    enable_memory_monitoring: bool = True
    memory_monitor_batches: int = 3


class Node:
    """Stands in for OmegaConf's DictConfig, which is no Mapping but has `get` and its own string type of
    keys."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"trainer_params": {"enable_memory_monitoring": True, "memory_monitor_batches": 3}}, (True, 3)),
        ({"enable_memory_monitoring": True, "memory_monitor_batches": 3}, (True, 3)),
        ({"enable_memory_monitoring": True}, (True, 5)),
        ({"enable_memory_monitoring": "True", "memory_monitor_batches": "7"}, (True, 7)),
        (
            {"trainer_params": {"enable_memory_monitoring": "false", "memory_monitor_batches": "x"}},
            (False, 5),
        ),
        ({"trainer_params": {"batch_size": 4}, "enable_memory_monitoring": True}, (False, 5)),
        ({}, (False, 5)),
        (None, (False, 5)),
        (Node(trainer_params=Node(enable_memory_monitoring=True, memory_monitor_batches=3)), (True, 3)),
        (Parameters(), (True, 3)),
        (SimpleNamespace(trainer_params=Parameters(memory_monitor_batches=0)), (True, 0)),
        (argparse.Namespace(enable_memory_monitoring=False), (False, 5)),
    ],
)
def test_the_configuration_switches_it(
    config: Any, expected: tuple[bool, int], capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = EpochMemoryMonitor.from_config(config)
    assert (monitor.enabled, monitor.verbose_batches) == expected
    line = f"Memory monitoring enabled (verbose for first {expected[1]} batches)\n"
    assert capsys.readouterr().out == (line if expected[0] else "")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (
            {"enable_memory_monitoring": "maybe"},
            "enable_memory_monitoring must be true or false, not 'maybe'",
        ),
        ({"enable_memory_monitoring": 7}, "must be true or false"),
        ({"enable_memory_monitoring": True, "memory_monitor_batches": "many"}, "must be a number of batches"),
        ({"enable_memory_monitoring": True, "memory_monitor_batches": -1}, "must be a number of batches"),
        ({"enable_memory_monitoring": True, "memory_monitor_batches": 2.5}, "must be a number of batches"),
    ],
)
def test_what_cannot_be_meant_is_said(config: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        EpochMemoryMonitor.from_config(config)


USAGE = r"CPU: \d+\.\d MB \| GPU Allocated: {} MB \| GPU Reserved: {} MB"


def test_the_lines_of_a_black_box(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The figures of the guide's example, on a stand-in for the GPU; called as the physical trainer does it.
    monitor = quiet(2, capsys)
    monitor.on_epoch_start()
    cuda.alloc(25.3)
    cuda.free(6.8)
    for number, loss in enumerate([0.14532, 0.098754, 0.05, 0.06]):
        cuda.alloc(0.5)
        monitor.on_loss_evaluation(number, loss)
    monitor.on_epoch_end()
    lines = capsys.readouterr().out.splitlines()
    expected = [
        "  Loss evaluation 0: " + USAGE.format(r"19\.0", r"25\.3"),
        r"    Iteration 1: loss=0\.145320",
        "  Loss evaluation 1: " + USAGE.format(r"19\.5", r"25\.3"),
        r"    Iteration 2: loss=0\.098754",
        "After optimization: " + USAGE.format(r"20\.5", r"25\.3"),
        r"  Peak GPU memory during optimization: 25\.3 MB",
        r"  Loss evaluations: 4 in \d+\.\d s, loss 0\.145320 to 0\.060000, best 0\.050000",
        r"  Growth per evaluation: CPU [+-]\d\.\d{3} MB, GPU \+0\.500 MB",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    monitor.on_epoch_end()
    assert capsys.readouterr().out == ""


def test_later_evaluations_tell_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = quiet(1, capsys)
    monitor.progress_seconds = 0.0
    for number, loss in enumerate([4.0, 2.0, 3.0]):
        monitor.on_loss_evaluation(number, loss)
    *_, usage, progress = capsys.readouterr().out.splitlines()
    assert re.fullmatch("  Loss evaluation 2: " + USAGE.format(r"0\.0", r"0\.0"), usage)
    assert re.fullmatch(r"    Iteration 3: loss=3\.000000, best 2\.000000, \d+\.\d evaluations/s", progress)
    monitor.progress_seconds = 3600.0
    monitor.on_optimization_start()
    for number in range(5):
        monitor.on_loss_evaluation(number, 1.0)
    assert len(capsys.readouterr().out.splitlines()) == 2, "the first evaluation, and nothing for an hour"


def test_scipy_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    from scipy.optimize import minimize, rosen, rosen_der

    def both(x: Any) -> tuple[float, Any]:
        return rosen(x), rosen_der(x)

    plain = minimize(both, [0.5, 2.0], jac=True, method="L-BFGS-B")
    with monitor_loss(both, verbose_evaluations=3) as function:
        followed = minimize(function, [0.5, 2.0], jac=True, method="L-BFGS-B")
    assert followed.x.tolist() == plain.x.tolist() and followed.nfev == plain.nfev
    printed = capsys.readouterr().out
    assert f"    Iteration 1: loss={rosen(numpy.array([0.5, 2.0])):.6f}\n" in printed
    assert printed.count("Loss evaluation ") == 3
    assert f"  Loss evaluations: {plain.nfev} in " in printed
    assert "  Peak GPU memory during optimization: 0.0 MB\n" in printed


def test_phiflow_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    from phi.torch import TORCH

    def loss_function(x: Any) -> Any:
        return math.l2_loss(x - 3.0)

    with TORCH:
        solve = math.Solve("L-BFGS-B", 0, 1e-5, x0=math.tensor([0.0, 1.0], math.batch("batch")))
        with monitor_loss(loss_function, verbose_evaluations=2) as function:
            found = math.minimize(function, solve)
    assert found.numpy("batch") == pytest.approx([3.0, 3.0], abs=1e-2)
    printed = capsys.readouterr().out
    assert "    Iteration 1: loss=(4.500, 2.000) along batchᵇ\n" in printed
    assert printed.count("Loss evaluation ") == 2
    assert re.search(
        r"  Loss evaluations: \d+ in \d+\.\d s, loss 3\.250000 to 0\.00\d+, best 0\.00\d+\n", printed
    )


def test_the_function_stays_what_it_is() -> None:
    def loss(x: float, *, weight: float = 1.0) -> float:
        """A loss."""
        if x < 0:
            raise ArithmeticError("mine")
        return x * weight

    monitored = monitor_loss(loss, EpochMemoryMonitor(enabled=True, verbose_batches=0))
    assert monitored(2.0, weight=3.0) == 6.0 and monitored.evaluations == 1
    assert monitored.__name__ == "loss" and monitored.__doc__ == "A loss."  # type: ignore[attr-defined]
    with pytest.raises(ArithmeticError, match="mine"):
        monitored(-1.0)
    assert monitored.evaluations == 1
    with pytest.raises(TypeError, match="wraps functions, not int"):
        monitor_loss(3)  # type: ignore[arg-type]


def test_growth_is_the_median_of_slopes() -> None:
    growth = Growth()
    assert growth.per_evaluation() is None
    growth.add(0, 1e9)  # What the first evaluation sets up is not growth.
    assert growth.per_evaluation() is None
    for number in range(1, 2000):
        growth.add(number, 5.0 * number + (1e6 if number == 777 else 0.0))
    assert growth.per_evaluation() == pytest.approx(5.0, rel=0.02)
    flat = Growth()
    for number in range(100):
        flat.add(number, 7.0)
    assert flat.per_evaluation() == 0.0
