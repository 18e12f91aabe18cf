"""Numbers of batches and evaluations as training loops give them, which need not be numbers."""

from __future__ import annotations

from typing import Any


def number_or(value: Any, otherwise: int) -> int:
    """`value` as a whole number; `otherwise` if it is none."""
    try:
        return int(value)
    except Exception:
        return otherwise
