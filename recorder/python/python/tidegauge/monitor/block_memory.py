"""What a block of code, or several stretches of one, did to memory."""

from __future__ import annotations

from typing import Any

from . import trace
from .lines import print_line
from .memory_reading import MemoryReading, cpu_mb, mb
from .peak_window import PeakWindow


class BlockMemory:
    """Differences of CPU and GPU memory and the GPU's peak, summed over stretches from `begin` to `end`.

    Stretches of one `BlockMemory` follow each other; those of several may lie inside or across each other.
    """

    def __init__(self, name: str, device: Any = None) -> None:
        self.name = str(name)
        self.device = device
        self.cpu_delta_bytes: int | None = None
        self.gpu_delta_bytes: int | None = None
        self.gpu_peak_bytes: int | None = None
        self._before: MemoryReading | None = None
        self._window: PeakWindow | None = None

    def begin(self) -> None:
        """A stretch begins."""
        self._window = PeakWindow(self.device)
        self._before = MemoryReading.now(self.device)

    def end(self) -> None:
        """The stretch has ended."""
        before, window = self._before, self._window
        if before is None or window is None:
            return
        after = MemoryReading.now(self.device if before.gpu_device is None else before.gpu_device)
        peak_bytes = window.close()
        self._before = self._window = None
        if before.cpu_bytes is not None and after.cpu_bytes is not None:
            self.cpu_delta_bytes = (self.cpu_delta_bytes or 0) + after.cpu_bytes - before.cpu_bytes
        if after.gpu_allocated_bytes is not None:
            # Before CUDA was initialised nothing was allocated there.
            held_before = before.gpu_allocated_bytes or 0
            self.gpu_delta_bytes = (self.gpu_delta_bytes or 0) + after.gpu_allocated_bytes - held_before
        if peak_bytes is not None:
            self.gpu_peak_bytes = max(self.gpu_peak_bytes or 0, peak_bytes)
        trace.memory(after, peak_bytes)

    def print(self) -> None:
        """Prints the two lines."""
        change = f"CPU {cpu_mb(self.cpu_delta_bytes):+.1f} MB, GPU {mb(self.gpu_delta_bytes):+.1f} MB"
        print_line(f"[Memory] {self.name}: {change}")
        print_line(f"         Peak GPU: {mb(self.gpu_peak_bytes):.1f} MB")
