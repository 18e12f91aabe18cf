"""Finds the two keys that switch memory monitoring in whatever a program keeps its configuration in."""

from __future__ import annotations

from typing import Any

from ..configuration import lookup, switch

ENABLE_KEY = "enable_memory_monitoring"
BATCHES_KEY = "memory_monitor_batches"
SECTION = "trainer_params"
DEFAULT_BATCHES = 5


def monitoring_options(config: Any) -> tuple[bool, int]:
    """Whether monitoring is on, and for how many batches it prints.

    The section `trainer_params` counts where the configuration has it, else the configuration itself. Raises
    ValueError for values that cannot be meant; the number of batches is looked at only if monitoring is on.
    """
    section = lookup(config, SECTION)
    section = config if section is None else section
    enabled = switch(lookup(section, ENABLE_KEY), ENABLE_KEY)
    if not enabled:
        return False, DEFAULT_BATCHES
    batches = lookup(section, BATCHES_KEY)
    return True, DEFAULT_BATCHES if batches is None else _count(batches)


def _count(value: Any) -> int:
    try:
        count = int(value)
        is_count = count >= 0 and (isinstance(value, str) or count == value)
    except (TypeError, ValueError):
        is_count = False
    if not is_count:
        raise ValueError(f"{BATCHES_KEY} must be a number of batches, not {value!r}")
    return count
