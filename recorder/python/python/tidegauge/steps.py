"""Training steps and epochs, and who wants to be told of each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import _native

#: Callbacks whose failure was said.
_complained: list[Callable[[dict[str, Any]], object]] = []
_callbacks: list[Callable[[dict[str, Any]], object]] = []
#: Number that the next step gets if it is given none.
_next_step = 0
_next_epoch = 0
#: The open epoch.
_epoch: int | None = None


class Step:
    """A training step: `with tg.step(number) as step:`. What is set on it is recorded when it ends.

    loss: anything that `float()` takes. A tensor on an accelerator is read when the step ends, which waits for the
    device; set a number, or leave it out, where that matters.
    batch_size: samples in the step's batch.
    """

    __slots__ = ("number", "loss", "batch_size", "_began")

    def __init__(self, number: int | None = None, batch_size: int | None = None) -> None:
        global _next_step
        self.number = _next_step if number is None else int(number)
        self.loss: Any = None
        self.batch_size = batch_size
        self._began = 0.0

    def __enter__(self) -> Step:
        global _next_step
        _next_step = self.number + 1
        for listener in _listeners:
            listener(self.number)
        if _callbacks:
            self._began = time.perf_counter()
        _native.step_begin(self.number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loss = as_number(self.loss) if self.loss is not None and (_callbacks or _native.is_on()) else None
        samples = as_count(self.batch_size)
        _native.step_end(self.number, loss, samples)
        if _callbacks:
            _tell(self.number, loss, samples, time.perf_counter() - self._began)


#: Told of the number of each step that the program begins by itself.
_listeners: list[Callable[[int], object]] = []


class Epoch:
    """An epoch: `with tg.epoch(number):`."""

    __slots__ = ("number",)

    def __init__(self, number: int | None = None) -> None:
        self.number = _next_epoch if number is None else int(number)

    def __enter__(self) -> Epoch:
        global _epoch, _next_epoch
        _epoch, _next_epoch = self.number, self.number + 1
        _native.epoch_begin(self.number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _epoch
        _epoch = None
        _native.epoch_end(self.number)


step = Step
epoch = Epoch


def as_number(value: Any) -> float | None:
    """A loss as a number; None where it is none."""
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except Exception:
        return None


def as_count(value: Any) -> int | None:
    """Samples in a batch; None where it is no such number."""
    try:
        count = int(value)
    except Exception:
        return None
    return count if 0 <= count < 2**63 and count == value else None


def begin_anew() -> None:
    """A recording begins: steps and epochs that are given no number are counted from 0."""
    global _next_step, _next_epoch, _epoch
    _next_step = _next_epoch = 0
    _epoch = None


def on_step(callback: Callable[[dict[str, Any]], object]) -> Callable[[], None]:
    """Has `callback` told of each step that ends, recorded or not; returns a function that takes it out again.

    It gets a dict for W&B, TensorBoard or a log: `step`, `epoch`, `loss`, `batch_size`, `seconds`, `rss_bytes`, and
    with CUDA at work `gpu_allocated_bytes`, `gpu_reserved_bytes` and `gpu_peak_allocated_bytes` of the current
    device, the last since the program reset its peak statistics. What is not known is None. What it raises is printed
    once for each callback and goes no further.
    """
    _callbacks.append(callback)

    def remove() -> None:
        if callback in _callbacks:
            _callbacks.remove(callback)

    return remove


def _tell(number: int, loss: float | None, batch_size: int | None, seconds: float) -> None:
    told = {
        "step": number,
        "epoch": _epoch,
        "loss": loss,
        "batch_size": batch_size,
        "seconds": seconds,
        "rss_bytes": _native.rss_bytes(),
        **_device_memory(),
    }
    for callback in list(_callbacks):
        try:
            callback(dict(told))
        except Exception:
            _complain(callback)


def _complain(callback: Callable[[dict[str, Any]], object]) -> None:
    if callback not in _complained:
        _complained.append(callback)
        import traceback

        print(f"tidegauge: a callback of on_step failed:\n{traceback.format_exc()}", file=sys.stderr, end="")


def _cuda() -> Any:
    """`torch.cuda`, if the program has set it to work already."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    try:
        return cuda if cuda is not None and cuda.is_initialized() else None
    except Exception:
        return None


def _device_memory() -> dict[str, int | None]:
    names = ("gpu_allocated_bytes", "gpu_reserved_bytes", "gpu_peak_allocated_bytes")
    cuda = _cuda()
    try:
        # Allocators that are plugged in count nothing, and raise.
        values = (
            (cuda.memory_allocated(), cuda.memory_reserved(), cuda.max_memory_allocated()) if cuda else None
        )
    except Exception:
        values = None
    return dict(zip(names, values or (None, None, None)))
