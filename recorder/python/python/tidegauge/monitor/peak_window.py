"""The highest memory of a device within a stretch of the program, though the counter is one for the process.

PyTorch keeps one peak per device, which `reset_peak_memory_stats` begins anew for everyone. So each reset
made here first folds the peak so far into every window that is open: an inner tracker does not cost an outer
one its peak. What the program itself resets meanwhile cannot be known; the peak is then that since its reset.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from .cuda import cuda_in_use, device_index

_lock = threading.RLock()
_open_windows: weakref.WeakSet[PeakWindow] = weakref.WeakSet()


class PeakWindow:
    """Open from its construction until `close`; a window that is forgotten is closed."""

    def __init__(self, device: Any = None) -> None:
        """`device` is the CUDA device, None the one that is current now (or at the end, if CUDA comes
        later)."""
        self._requested = device
        self._device: int | None = None
        self._folded_bytes: dict[int, int] = {}
        with _lock:
            cuda = cuda_in_use()
            if cuda is not None:
                self._device = device_index(cuda, device)
                _begin_anew(cuda, self._device)
            # Before CUDA is initialised its peak is 0, so that there is nothing to begin anew.
            _open_windows.add(self)

    def close(self) -> int | None:
        """The peak in bytes; None where there is no CUDA in use."""
        with _lock:
            _open_windows.discard(self)
            cuda = cuda_in_use()
            if cuda is None:
                return None
            device = self._device if self._device is not None else device_index(cuda, self._requested)
            peak_bytes = _peak_bytes(cuda, device)
            if device is None or peak_bytes is None:
                return None
            return max(peak_bytes, self._folded_bytes.get(device, 0))

    def _fold(self, device: int, peak_bytes: int) -> None:
        self._folded_bytes[device] = max(peak_bytes, self._folded_bytes.get(device, 0))


def _peak_bytes(cuda: Any, device: int | None) -> int | None:
    try:
        return int(cuda.max_memory_allocated(device))
    except Exception:
        return None


def _begin_anew(cuda: Any, device: int | None) -> None:
    peak_bytes = _peak_bytes(cuda, device)
    if device is None or peak_bytes is None:
        return
    for window in list(_open_windows):
        window._fold(device, peak_bytes)
    try:
        cuda.reset_peak_memory_stats(device)
    except Exception:
        pass


def _in_forked_child() -> None:
    # Another thread of the parent may have held the lock; it does not exist here.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
