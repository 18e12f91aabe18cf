"""Finds the largest batch size that passes, if every size below one that passes does too."""

from __future__ import annotations

from collections.abc import Callable


def largest_passing(passes: Callable[[int], bool], start: int, low: int, high: int) -> int | None:
    """The largest of `low` … `high` that passes; None if none does.

    Begins at `start` and doubles or halves from there, so that no size is tried which is more than twice of
    one that passes: a trial that fails may take the process with it. Then the gap is halved.
    """
    size = min(max(start, low), high)
    if passes(size):
        passing, failing = size, high + 1
        while passing < high:
            size = min(2 * passing, high)
            if not passes(size):
                failing = size
                break
            passing = size
    else:
        failing = size
        while True:
            if failing <= low:
                return None
            size = max(failing // 2, low)
            if passes(size):
                passing = size
                break
            failing = size
    while failing - passing > 1:
        size = (passing + failing) // 2
        if passes(size):
            passing = size
        else:
            failing = size
    return passing
