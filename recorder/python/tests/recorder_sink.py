"""The recorder as the programs of the allocator's tests use it: without the hooks that `tidegauge.attach` would add."""

from __future__ import annotations

from tidegauge import _native


class RecorderSink:
    """Starts and stops recording, marks moments, and gives the functions that allocators call."""

    def functions(self) -> dict[str, int]:
        return _native.functions()

    def start(self, run: str) -> None:
        _native.start(run)

    def stop(self) -> None:
        _native.stop()

    def mark(self, name: str) -> None:
        _native.checkpoint(name)
