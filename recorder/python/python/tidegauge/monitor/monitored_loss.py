"""`monitor_loss(function)`: follows an optimizer that calls a function and says nothing (SciPy, PhiFlow)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .epoch_memory_monitor import EpochMemoryMonitor


class MonitoredLoss:
    """Calls the function as it is, and tells the monitor what each call returned.

    Of a function that returns several things (a loss and its gradient) the loss is the first. `evaluations`
    counts the calls that returned. As a context manager it ends the optimization with the block:

        with monitor_loss(loss_function) as loss:
            result = math.minimize(loss, solve)
    """

    def __init__(self, function: Callable[..., Any], monitor: EpochMemoryMonitor) -> None:
        if not callable(function):
            raise TypeError(f"monitor_loss wraps functions, not {type(function).__name__}: {function!r}")
        functools.update_wrapper(self, function)
        self.function = function
        self.monitor = monitor
        self.evaluations = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.function(*args, **kwargs)
        if self.monitor.enabled:
            number = self.evaluations
            self.evaluations = number + 1
            self.monitor.on_loss_evaluation(
                number, result[0] if isinstance(result, (tuple, list)) else result
            )
        return result

    def finish(self) -> None:
        """Ends the optimization as `EpochMemoryMonitor.on_optimization_end`; the next call begins another."""
        self.evaluations = 0
        self.monitor.on_optimization_end()

    def __enter__(self) -> MonitoredLoss:
        self.monitor.on_optimization_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()


def monitor_loss(
    function: Callable[..., Any], monitor: EpochMemoryMonitor | None = None, verbose_evaluations: int = 5
) -> MonitoredLoss:
    """Prints the first evaluations of a loss, records every one, and tells how the optimization went.

    `monitor` is the one that prints; without it there is a new one that prints the first
    `verbose_evaluations`.
    """
    if monitor is None:
        monitor = EpochMemoryMonitor(enabled=True, verbose_batches=verbose_evaluations)
    return MonitoredLoss(function, monitor)
