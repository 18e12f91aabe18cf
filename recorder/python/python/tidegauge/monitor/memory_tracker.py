"""`MemoryTracker`: memory at named moments of a program, and a table of them."""

from __future__ import annotations

from typing import Any

from . import trace
from .lines import print_line
from .memory_reading import MemoryReading

#: Columns of the table: heading, and key of a record.
_COLUMNS = {
    "CPU (MB)": "cpu_memory_mb",
    "GPU Alloc (MB)": "gpu_memory_allocated_mb",
    "GPU Reserved (MB)": "gpu_memory_reserved_mb",
}


class MemoryTracker:
    """Remembers what was held at each `record(name)`.

    `records` is a list of dicts: those of `MemoryMonitor.get_memory_summary`, and `label`.
    """

    def __init__(self, device: Any = None) -> None:
        """`device` is the CUDA device, None the one that is current at each moment."""
        self.device = device
        self.records: list[dict[str, Any]] = []

    def record(self, name: str) -> None:
        """Remembers this moment under `name`, and marks it in the trace."""
        reading = MemoryReading.now(self.device)
        self.records.append({**reading.summary_mb(), "label": str(name)})
        trace.mark(name, reading)

    def print_summary(self) -> None:
        """Prints a table: each moment, what was held, and how much more that was than before."""
        if not self.records:
            print_line("No memory records available")
            return
        width = max(len("Label"), *(len(record["label"]) for record in self.records))
        head = f"{'Label':<{width}}" + "".join(f"  {column:>24}" for column in _COLUMNS)
        print_line("\nMemory Usage Summary")
        print_line(head)
        print_line("-" * len(head))
        before: dict[str, Any] | None = None
        for record in self.records:
            cells = "".join(f"  {_cell(record, before, key):>24}" for key in _COLUMNS.values())
            print_line(f"{record['label']:<{width}}{cells}")
            before = record

    def get_peak_memory(self) -> dict[str, float]:
        """The highest of the recorded figures, MB: `cpu_peak_mb`, `gpu_peak_mb`."""
        return {
            "cpu_peak_mb": max((record["cpu_memory_mb"] for record in self.records), default=0.0),
            "gpu_peak_mb": max((record["gpu_memory_allocated_mb"] for record in self.records), default=0.0),
        }

    def clear(self) -> None:
        """Forgets all moments."""
        self.records = []


def _cell(record: dict[str, Any], before: dict[str, Any] | None, key: str) -> str:
    held_mb = record[key]
    return f"{held_mb:.1f}" if before is None else f"{held_mb:.1f} ({held_mb - before[key]:+.1f})"
