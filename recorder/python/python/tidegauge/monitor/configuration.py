"""Finds the two keys that switch memory monitoring in whatever a program keeps its configuration in."""

from __future__ import annotations

from typing import Any

ENABLE_KEY = "enable_memory_monitoring"
BATCHES_KEY = "memory_monitor_batches"
SECTION = "trainer_params"
DEFAULT_BATCHES = 5

#: As they come from a command line or an environment variable.
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def monitoring_options(config: Any) -> tuple[bool, int]:
    """Whether monitoring is on, and for how many batches it prints.

    The section `trainer_params` counts where the configuration has it, else the configuration itself. Raises
    ValueError for values that cannot be meant; the number of batches is looked at only if monitoring is on.
    """
    section = _get(config, SECTION)
    section = config if section is None else section
    enabled = _switch(_get(section, ENABLE_KEY))
    if not enabled:
        return False, DEFAULT_BATCHES
    batches = _get(section, BATCHES_KEY)
    return True, DEFAULT_BATCHES if batches is None else _count(batches)


def _get(config: Any, key: str) -> Any:
    get = getattr(config, "get", None)
    return get(key) if callable(get) else getattr(config, key, None)


def _switch(value: Any) -> bool:
    if value is None:
        return False
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    known = _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise ValueError(f"{ENABLE_KEY} must be true or false, not {value!r}")
    return known


def _count(value: Any) -> int:
    try:
        count = int(value)
        is_count = count >= 0 and (isinstance(value, str) or count == value)
    except (TypeError, ValueError):
        is_count = False
    if not is_count:
        raise ValueError(f"{BATCHES_KEY} must be a number of batches, not {value!r}")
    return count
