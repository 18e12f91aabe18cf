"""`MemoryMonitor`: figures of the moment from the class, and a curve over time from an object of it."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any

from . import trace
from .cuda import cuda_in_use
from .lines import label_of, memory_line, print_line, with_prefix
from .memory_reading import MemoryReading, mb


class MemoryMonitor:
    """What the process and its GPU hold, now or over time.

    Now, without an object: `MemoryMonitor.print_memory_usage("After model creation: ")`,
    `MemoryMonitor.get_cpu_memory_mb()`. Over time:

        monitor = MemoryMonitor(interval=0.5)
        monitor.start_monitoring()
        ...
        monitor.stop_monitoring()
        monitor.plot_memory_usage()

    `memory_log` is in MB and `time_log` in seconds since `start_time` (seconds since 1970). The log is what
    tensors hold on the GPU if the program uses one, else the resident memory of the process. CUDA that is
    first used while the log is being written held nothing before: the log is then of the GPU from its
    beginning.
    """

    def __init__(self, interval: float = 1.0) -> None:
        """`interval` is in seconds; raises ValueError unless it is above 0."""
        if not (isinstance(interval, (int, float)) and math.isfinite(interval) and interval > 0):
            raise ValueError(f"the interval of a MemoryMonitor must be seconds above 0, not {interval!r}")
        self.interval = interval
        self.monitoring = False
        self.memory_log: list[float] = []
        self.time_log: list[float] = []
        self.start_time: float | None = None
        self.monitor_thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._start_seconds = 0.0
        self._is_of_gpu = False

    @staticmethod
    def get_cpu_memory_mb() -> float:
        """Resident memory of the process, MB."""
        return MemoryReading.now().cpu_mb

    @staticmethod
    def get_gpu_memory_mb(device: Any = None) -> float:
        """What tensors hold on the device, MB; 0 without a GPU in use."""
        return MemoryReading.now(device).gpu_allocated_mb

    @staticmethod
    def get_gpu_memory_reserved_mb(device: Any = None) -> float:
        """What PyTorch's allocator took from the device, MB; 0 without a GPU in use."""
        return MemoryReading.now(device).gpu_reserved_mb

    @staticmethod
    def get_memory_summary(device: Any = None) -> dict[str, float]:
        """All figures, MB: `cpu_memory_mb`, `gpu_memory_allocated_mb`, `gpu_memory_reserved_mb`, and
        `gpu_memory_free_mb` (of the device and not reserved by this process) where a GPU is in use."""
        return MemoryReading.now(device).summary_mb()

    @staticmethod
    def print_memory_usage(prefix: str = "", device: Any = None) -> None:
        """Prints `PREFIX: CPU: x MB | GPU Allocated: y MB | GPU Reserved: z MB`, and marks the moment."""
        reading = MemoryReading.now(device)
        print_line(with_prefix(prefix, memory_line(reading)))
        trace.mark(label_of(prefix).strip() or "memory usage", reading)

    def start_monitoring(self) -> None:
        """Begins a log, read each `interval` by a thread that does not keep the program alive.

        Does nothing if it is being written already. A log of before is left to whoever holds its lists.
        """
        if self.monitoring and self.monitor_thread is not None and self.monitor_thread.is_alive():
            return
        self.memory_log, self.time_log = [], []
        self._is_of_gpu = cuda_in_use() is not None
        self._stop = threading.Event()
        self.start_time, self._start_seconds = time.time(), time.monotonic()
        self.monitoring = True
        self.monitor_thread = threading.Thread(
            target=self._monitor_loop, args=(self._stop,), name="tidegauge-monitor", daemon=True
        )
        self.monitor_thread.start()

    def stop_monitoring(self) -> None:
        """Ends the log with a last reading; at once, whatever the interval. Without a log it does nothing."""
        if not self.monitoring:
            return
        self.monitoring = False
        self._stop.set()
        thread = self.monitor_thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._read()

    def plot_memory_usage(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Writes the plot as SVG, prints maximum, average, final figure and path, and returns the path.

        `path` is the file, replaced if it is there; the ending of another kind of image gives way to `.svg`
        (`x.png` is written as `x.svg`). Without one it is `memory_usage.svg` in the working directory, or the
        first of `memory_usage-2.svg` … that is free. While a trace is open and the program
        `tidegauge` is on PATH, the plot is its timeline of the trace. None if there are no readings or
        nothing can be written.
        """
        readings = [
            (at, held) for at, held in zip(list(self.time_log), list(self.memory_log)) if math.isfinite(held)
        ]
        if not readings:
            print_line("\nMemory Statistics:\n  no readings yet: start_monitoring() takes them")
            return None
        from . import memory_plot

        held_mb = [held for _, held in readings]
        written = memory_plot.write(readings, "GPU allocated" if self._is_of_gpu else "Process RSS", path)
        print_line("\nMemory Statistics:")
        print_line(f"  Maximum: {max(held_mb):.2f} MB")
        print_line(f"  Average: {sum(held_mb) / len(held_mb):.2f} MB")
        print_line(f"  Final: {held_mb[-1]:.2f} MB")
        print_line(f"  Plot: {written}" if written else "  Plot: could not be written")
        return written

    def _monitor_loop(self, stop: threading.Event) -> None:
        while True:
            self._read()
            # The flag is looked at too: programs clear it to end the log.
            if stop.wait(self.interval) or not self.monitoring:
                return

    def _read(self) -> None:
        """Appends to the log; a reading that fails is left out."""
        try:
            reading = MemoryReading.now()
            if not self._is_of_gpu and reading.gpu_allocated_bytes is not None:
                self._is_of_gpu = True
                self.memory_log[:] = [0.0] * len(self.memory_log)
            held_bytes = reading.gpu_allocated_bytes if self._is_of_gpu else reading.cpu_bytes
            if held_bytes is not None:
                self.time_log.append(time.monotonic() - self._start_seconds)
                self.memory_log.append(mb(held_bytes))
            trace.memory(reading)
        except Exception:
            pass
