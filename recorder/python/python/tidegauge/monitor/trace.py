"""What the monitors write to the trace: the only place of `tidegauge.monitor` that knows the recorder.

Each function does nothing when no trace is open. None of them reads memory for the trace but for PyTorch's
own counters, which the recorder's sampler does not see: resident memory is recorded with every checkpoint
anyway.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tidegauge as tg
from tidegauge import steps

from .memory_reading import MemoryReading

ALLOCATED = "torch_allocated_bytes"
RESERVED = "torch_reserved_bytes"
PEAK_ALLOCATED = "torch_peak_allocated_bytes"


def is_open() -> bool:
    """Whether a trace is being recorded."""
    return bool(tg.is_on())


def run_path() -> str | None:
    """The folder of the trace that is open."""
    return tg.run_path()


def mark(name: str, reading: MemoryReading | None = None) -> None:
    """A moment, which ends the phase that bears its name; with what PyTorch's allocator held then."""
    if tg.is_on():
        tg.checkpoint(str(name))
        if reading is not None:
            memory(reading)


def memory(reading: MemoryReading, peak_bytes: int | None = None) -> None:
    """What PyTorch's allocator held on a device; nothing where there is none, since unknown is absent."""
    if reading.gpu_device is None or not tg.is_on():
        return
    for name, value in (
        (ALLOCATED, reading.gpu_allocated_bytes),
        (RESERVED, reading.gpu_reserved_bytes),
        (PEAK_ALLOCATED, peak_bytes),
    ):
        if value is not None:
            tg.counter(name, float(value), reading.gpu_device)


def value(name: str, number: float | None) -> None:
    """A number of the program's own, if it is known."""
    if number is not None and tg.is_on():
        tg.counter(name, float(number))


def span(name: str) -> AbstractContextManager[Any]:
    """A phase."""
    return tg.span(str(name))


def step(number: int, batch_size: int | None = None) -> Any:
    """A training step: a context manager with an attribute `loss`."""
    return tg.step(number, batch_size=batch_size)


def epoch(number: int) -> AbstractContextManager[Any]:
    """An epoch, unless the program has opened one itself, whose number then stands."""
    return nullcontext() if steps._epoch is not None else tg.epoch(number)


def loss_evaluation(number: int, loss: float | None) -> None:
    """An evaluation of the loss by a black-box optimizer; NaN stands for a loss that cannot be told yet.

    A function that is being traced has no number to give, and the evaluation is to be counted all the same.
    """
    if tg.is_on():
        tg.loss_evaluation(number, float("nan") if loss is None else loss)
