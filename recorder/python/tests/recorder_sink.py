"""The recorder as programs of the allocator's tests use it: the package's native module, or else the C library.

The allocator's C++ files know only addresses of functions, so they can be tested without the compiled package.
`TIDEGAUGE_RECORDER_LIBRARY` names another library than that of the workspace's debug build.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parents[3]
LIBRARY = Path(os.environ.get("TIDEGAUGE_RECORDER_LIBRARY", WORKSPACE / "target" / "debug" / "libtidegauge_recorder.so"))
NAMES = ("tidegauge_alloc", "tidegauge_free", "tidegauge_oom", "tidegauge_event")


class RecorderSink:
    """Starts and stops recording, marks moments, and gives the functions that allocators call."""

    def __init__(self) -> None:
        try:
            from tidegauge import _native
        except ImportError:
            self._native = None
            self._library = ctypes.CDLL(str(LIBRARY))
        else:
            self._native = _native

    def functions(self) -> dict[str, int]:
        if self._native is not None:
            return dict(self._native.functions())
        found = {name: getattr(self._library, name, None) for name in NAMES}
        return {name: ctypes.cast(function, ctypes.c_void_p).value or 0 for name, function in found.items() if function}

    def start(self, run: str) -> None:
        if self._native is not None:
            self._native.start(run)
        elif self._library.tidegauge_start(run.encode()) != 0:
            raise RuntimeError(f"cannot record into {run}")

    def stop(self) -> None:
        if self._native is not None:
            self._native.stop()
        elif self._library.tidegauge_stop() != 0:
            raise RuntimeError("recording did not stop cleanly")

    def mark(self, name: str) -> None:
        if self._native is not None:
            self._native.checkpoint(name)
        else:
            self._library.tidegauge_mark(name.encode())
