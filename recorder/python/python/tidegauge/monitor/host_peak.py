"""The highest resident memory of the process within a stretch of the program.

The kernel keeps the highest since the process began (VmHWM) and would begin it anew only for everyone who
reads it. So where the stretch went beyond all that was before, the kernel's figure is exact; where it did
not, the process is read each millisecond by a thread, and the figure is a lower bound.
"""

from __future__ import annotations

import threading

import tidegauge as tg

_INTERVAL_SECONDS = 0.001


class HostPeak:
    """A context manager; `peak_bytes` afterwards is None where the system tells nothing."""

    def __init__(self) -> None:
        self.peak_bytes: int | None = None
        self._before_bytes: int | None = None
        self._highest_bytes = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HostPeak:
        self._before_bytes = _high_water_bytes()
        self._read()
        self._thread = threading.Thread(target=self._watch, name="tidegauge-host-peak", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._read()
        after_bytes = _high_water_bytes()
        is_exact = (
            after_bytes is not None and self._before_bytes is not None and after_bytes > self._before_bytes
        )
        highest_bytes = max(self._highest_bytes, after_bytes or 0) if is_exact else self._highest_bytes
        self.peak_bytes = highest_bytes or None

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            self._read()

    def _read(self) -> None:
        self._highest_bytes = max(self._highest_bytes, tg._native.rss_bytes() or 0)


def return_free_memory() -> None:
    """Has the C library give free memory back to the system, so that it does not pass for memory in use."""
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
    except Exception:
        # Not glibc.
        pass


def available_bytes() -> int | None:
    """What the node could give without swapping, by the kernel's estimate."""
    return _field("/proc/meminfo", "MemAvailable:")


def _high_water_bytes() -> int | None:
    return _field("/proc/self/status", "VmHWM:")


def _field(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
