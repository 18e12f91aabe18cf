"""Optimizers that call a function and say nothing: SciPy's, PhiFlow's, or this one."""

from __future__ import annotations

from collections.abc import Callable

from tidegauge.monitor import EpochMemoryMonitor, monitor_loss


def minimize(function: Callable[[float], float], x: float) -> float:
    """Newton's method by differences; stands for an optimizer from a library."""
    for _ in range(5):
        left, here, right = function(x - 0.01), function(x), function(x + 0.01)
        x -= 0.01 * (right - left) / (2 * (right - 2 * here + left))
    return x


def black_box() -> None:
    graph = []

    def loss_function(x: float) -> float:
        graph.append(bytearray(b"x" * (8 << 20)))  # grows with each evaluation
        return (x - 3) ** 2 + 1

    with monitor_loss(loss_function, verbose_evaluations=2) as loss:
        print("x =", round(minimize(loss, 0.0), 3))


def physical_trainer() -> None:
    config = {"trainer_params": {"enable_memory_monitoring": True, "memory_monitor_batches": 2}}
    monitor = EpochMemoryMonitor.from_config(config)
    calls = 0

    def loss_function(x: float) -> float:
        nonlocal calls
        loss = (x - 3) ** 2 + 1
        monitor.on_loss_evaluation(calls, loss)
        calls += 1
        return loss

    monitor.on_epoch_start()
    minimize(loss_function, 0.0)
    monitor.on_epoch_end()
