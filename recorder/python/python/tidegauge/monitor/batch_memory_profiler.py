"""`BatchMemoryProfiler`: what each part of a training step leaves on the GPU."""

from __future__ import annotations

from typing import Any

from . import trace
from .lines import print_line
from .memory_reading import MemoryReading

_START = "start"


class BatchMemoryProfiler:
    """Call `checkpoint(name)` after each part of a step, then `print_summary` and `reset`.

    Parts are counted from the checkpoint before; the first from a checkpoint named `start`, or, without one,
    from the construction or the last `reset`. In the trace each checkpoint is a mark, which ends the phase of
    its name.
    """

    def __init__(self, enabled: bool = True, device: Any = None) -> None:
        """`device` is the CUDA device, None the one that is current at each checkpoint."""
        self.enabled = enabled
        self.device = device
        #: Each a dict: `label`, `gpu_mb`, and, from the checkpoint before, `gpu_delta` (MB) and `from` (its
        #: label).
        self.checkpoints: list[dict[str, Any]] = []
        self._last = (_START, self._gpu_mb())

    def checkpoint(self, name: str) -> None:
        """The part called `name` has ended."""
        if not self.enabled:
            return
        reading = MemoryReading.now(self.device)
        gpu_mb = reading.gpu_allocated_mb
        last_label, last_mb = self._last
        if self.checkpoints or name != _START:
            part = {"label": str(name), "gpu_mb": gpu_mb, "gpu_delta": gpu_mb - last_mb, "from": last_label}
            self.checkpoints.append(part)
        self._last = (str(name), gpu_mb)
        trace.mark(name, reading)

    def print_summary(self) -> None:
        """Prints a line for each part; nothing while disabled, or when there is none."""
        if not self.enabled or not self.checkpoints:
            return
        print_line("    Memory profile:")
        for part in self.checkpoints:
            change = f"{part['gpu_delta']:+.1f}".replace("-0.0", "+0.0")
            print_line(f"      {part['from']} → {part['label']}: GPU {part['gpu_mb']:.1f} MB ({change} MB)")

    def reset(self) -> None:
        """Forgets the checkpoints: the next step begins here."""
        self.checkpoints = []
        self._last = (_START, self._gpu_mb())

    def enable(self) -> None:
        """Checkpoints count from now on."""
        if not self.enabled:
            self.enabled = True
            self.reset()

    def disable(self) -> None:
        """Checkpoints cost nothing from now on, and nothing is printed."""
        self.enabled = False

    def _gpu_mb(self) -> float:
        return MemoryReading.now(self.device).gpu_allocated_mb if self.enabled else 0.0
