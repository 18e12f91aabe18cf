"""Reads whatever a program keeps its configuration in: a dict, an OmegaConf node, a namespace, a dataclass."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import Any

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
#: A configuration that is nested deeper is none.
_MOST_LEVELS = 16


def lookup(config: Any, key: str) -> Any:
    """What a configuration holds under a key; None if nothing."""
    if config is None or isinstance(config, (str, bytes)):
        return None
    get = getattr(config, "get", None)
    if callable(get):
        return get(key)
    if callable(getattr(config, "keys", None)):
        return config[key] if key in list(config.keys()) else None
    return getattr(config, key, None)


def switch(value: Any, key: str) -> bool:
    """On or off, off if it is missing. Raises ValueError for what is neither."""
    if value is None:
        return False
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    known = _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise ValueError(f"{key} must be true or false, not {value!r}")
    return known


def items(config: Any) -> Iterator[tuple[str, Any]]:
    """What a configuration holds, key by key; nothing if it is none."""
    if config is None or isinstance(config, (str, bytes, type)):
        return
    if callable(getattr(config, "keys", None)) and hasattr(type(config), "__getitem__"):
        for key in list(config.keys()):
            yield str(key), config[key]
    elif hasattr(config, "__dict__"):
        yield from ((key, value) for key, value in vars(config).items() if not key.startswith("_"))


def flat(config: Any) -> dict[str, Any]:
    """A configuration without nesting: `outer.inner` to numbers, truths, texts and None.

    Numbers are kept whatever their type (NumPy's, a tensor of one); everything else is its text. Of what contains
    itself, the inner one is left out.
    """
    found: dict[str, Any] = {}
    _add(config, "", found, [])
    return found


def _add(config: Any, prefix: str, found: dict[str, Any], around: list[int]) -> None:
    if id(config) in around or len(around) > _MOST_LEVELS:
        return
    for key, value in items(config):
        name = _sound(f"{prefix}{key}")
        if _is_nested(value):
            _add(value, f"{name}.", found, [*around, id(config)])
        else:
            found[name] = _scalar(value)


def _is_nested(value: Any) -> bool:
    if isinstance(value, type) or hasattr(value, "item"):
        return False
    is_mapping = callable(getattr(value, "keys", None)) and hasattr(type(value), "__getitem__")
    return is_mapping or type(value).__name__ == "Namespace" or hasattr(type(value), "__dataclass_fields__")


def _scalar(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, type):
        try:
            value = value.item()
        except Exception:
            return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, numbers.Integral) and -(2**63) <= int(value) < 2**64:
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        number = float(value)
        if math.isfinite(number):
            return number
    return _text(value)


def _text(value: Any) -> str | None:
    try:
        return _sound(str(value))
    except Exception:
        return None


def _sound(text: str) -> str:
    """Without the halves of characters that file names may have."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
