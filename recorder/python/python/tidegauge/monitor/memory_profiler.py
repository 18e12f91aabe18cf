"""`MemoryProfiler`: what one operation leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from . import trace
from .cuda import release_cached_memory
from .lines import print_line
from .memory_reading import MemoryReading

Result = TypeVar("Result")


class MemoryProfiler:
    """Measures operations one by one; `baseline_memory` is what was held when the profiler was made.

    Figures are dicts in MB: `cpu`, `gpu_allocated`, `gpu_cached` (what PyTorch's allocator took from the
    device).
    """

    def __init__(self) -> None:
        self.baseline_memory = self._get_memory_usage()

    def _get_memory_usage(self) -> dict[str, float]:
        return _figures(MemoryReading.now())

    def profile_operation(
        self, operation: Callable[[], Result], operation_name: str = "Operation"
    ) -> tuple[Result, dict[str, float]]:
        """Runs `operation()`; returns its result and by how much each figure changed, and prints that.

        What PyTorch's allocator holds in reserve is given back first, so that the operation has to take what
        it needs. In the trace it is a span. An exception passes through.
        """
        release_cached_memory()
        with trace.span(operation_name):
            before = MemoryReading.now()
            result = operation()
            after = MemoryReading.now()
        trace.memory(after)
        held_before, held_after = _figures(before), _figures(after)
        change = {key: held_after[key] - held_before[key] for key in held_before}
        print_line(f"\n{operation_name} Memory Usage:")
        print_line(f"  CPU: {change['cpu']:+.2f} MB")
        print_line(f"  GPU Allocated: {change['gpu_allocated']:+.2f} MB")
        print_line(f"  GPU Cached: {change['gpu_cached']:+.2f} MB")
        return result, change


def _figures(reading: MemoryReading) -> dict[str, float]:
    return {
        "cpu": reading.cpu_mb,
        "gpu_allocated": reading.gpu_allocated_mb,
        "gpu_cached": reading.gpu_reserved_mb,
    }
