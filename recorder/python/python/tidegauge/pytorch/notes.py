"""What cannot be recorded here: a note in the trace and a line on standard error, once each."""

from __future__ import annotations

import sys

from .. import _native

_said: set[tuple[str | None, str]] = set()


def note(text: str, *, loud: bool = False) -> None:
    """Adds a line to the trace's notes, once for each run; `loud` says it on standard error too."""
    key = (_native.run_path(), text)
    if key in _said:
        return
    _said.add(key)
    _native.note(f"torch: {text}")
    if loud:
        print(f"tidegauge: torch: {text}", file=sys.stderr)


def failed(where: str, error: BaseException) -> None:
    """A hook of ours has failed: training goes on, and the trace says what is missing."""
    note(f"{where}: {type(error).__name__}: {error}")
