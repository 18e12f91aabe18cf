"""One optimization by a black box: what its evaluations of the loss cost and how far it has come."""

from __future__ import annotations

import time
from typing import Any

from . import trace
from .growth import Growth
from .lines import memory_line, print_line, with_prefix
from .loss import finite_or_none, loss_text, loss_value
from .memory_reading import MemoryReading, mb
from .numbering import number_or
from .peak_window import PeakWindow


class LossEvaluations:
    """Counts evaluations from its construction until `finish`, prints the first ones and then how it goes on.

    Every evaluation is in the trace. The loss is read each time, on a GPU too: the optimizer that called for
    it needs the number at once itself.
    """

    def __init__(
        self, verbose_evaluations: int, progress_seconds: float, device: Any, window: PeakWindow
    ) -> None:
        """`window` has been open since the optimization began; after the first evaluations there is a line
        each `progress_seconds`."""
        self.verbose_evaluations = verbose_evaluations
        self.progress_seconds = progress_seconds
        self.device = device
        self.count = 0
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.best_loss: float | None = None
        self._window = window
        self._cpu_growth, self._gpu_growth = Growth(), Growth()
        self._start_seconds = self._printed_seconds = time.monotonic()

    def add(self, number: Any, loss: Any) -> None:
        """The evaluation `number`, counted from 0, gave `loss`; what is no number is counted here."""
        number = number_or(number, self.count)
        reading = MemoryReading.now(self.device)
        value = loss_value(loss, may_wait=True)
        trace.loss_evaluation(number, value)
        trace.memory(reading)
        if reading.cpu_bytes is not None:
            self._cpu_growth.add(self.count, reading.cpu_bytes)
        self._gpu_growth.add(self.count, reading.gpu_allocated_bytes or 0)
        self.count += 1
        self._remember(finite_or_none(value))
        now_seconds = time.monotonic()
        if number < self.verbose_evaluations:
            print_line(with_prefix(f"  Loss evaluation {number}", memory_line(reading)))
            if loss is not None:
                print_line(f"    Iteration {number + 1}: loss={loss_text(loss)}")
        elif now_seconds - self._printed_seconds >= self.progress_seconds:
            print_line(with_prefix(f"  Loss evaluation {number}", memory_line(reading)))
            per_second = self.count / max(now_seconds - self._start_seconds, 1e-9)
            best = "" if self.best_loss is None else f", best {self.best_loss:.6f}"
            print_line(
                f"    Iteration {number + 1}: loss={loss_text(loss)}{best}, {per_second:.1f} evaluations/s"
            )
        else:
            return
        self._printed_seconds = now_seconds

    def finish(self) -> None:
        """The optimization has ended: prints its peak, how far it came, and how memory grew."""
        reading = MemoryReading.now(self.device)
        peak_bytes = self._window.close()
        trace.memory(reading, peak_bytes)
        seconds = time.monotonic() - self._start_seconds
        print_line(with_prefix("After optimization", memory_line(reading)))
        print_line(f"  Peak GPU memory during optimization: {mb(peak_bytes):.1f} MB")
        losses = ""
        if self.first_loss is not None and self.last_loss is not None:
            losses = f", loss {self.first_loss:.6f} to {self.last_loss:.6f}, best {self.best_loss:.6f}"
        print_line(f"  Loss evaluations: {self.count} in {seconds:.1f} s{losses}")
        cpu_bytes, gpu_bytes = self._cpu_growth.per_evaluation(), self._gpu_growth.per_evaluation()
        if cpu_bytes is not None:
            print_line(f"  Growth per evaluation: CPU {mb(cpu_bytes):+.3f} MB, GPU {mb(gpu_bytes):+.3f} MB")

    def _remember(self, loss: float | None) -> None:
        if loss is None:
            return
        if self.first_loss is None:
            self.first_loss = loss
        self.last_loss = loss
        self.best_loss = loss if self.best_loss is None else min(self.best_loss, loss)
