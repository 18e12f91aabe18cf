"""Reads a loss, whatever it is: a number, a tensor, an array, a value of PhiFlow.

Asking a GPU for a number waits for all that it still has to do. So a loss is read only where it is printed,
where reading it costs nothing, or where the caller needs the number at once as well.
"""

from __future__ import annotations

import math
import sys
from typing import Any


def loss_text(loss: Any) -> str:
    """As it is printed: six digits of a single number, anything else as it prints itself."""
    number = None if _is_array(loss) else loss_value(loss, may_wait=True)
    if number is not None:
        return f"{number:.6f}"
    try:
        return str(loss.detach() if _is_torch(loss) else loss)
    except Exception:
        return type(loss).__name__


def loss_value(loss: Any, may_wait: bool) -> float | None:
    """The loss as a number, of several numbers their mean; None where there is none to be had.

    Without `may_wait` the loss is read only if it lies in the process's own memory.
    """
    if loss is None:
        return None
    try:
        if isinstance(loss, (int, float)):
            return float(loss)
        native = _native(loss)
        if _is_torch(native):
            if native.device.type != "cpu" and not may_wait:
                return None
            return float(native.detach().double().mean() if native.numel() != 1 else native.detach())
        if type(native).__module__.partition(".")[0] == "numpy":
            return float(native.mean()) if native.size else None
        # JAX, TensorFlow and others: where their numbers lie is theirs to know.
        return float(native) if may_wait else None
    except Exception:
        # What is being traced or compiled has no number.
        return None


def finite_or_none(number: float | None) -> float | None:
    """The number, unless it is infinite or none at all."""
    return number if number is not None and math.isfinite(number) else None


def _is_array(loss: Any) -> bool:
    """Whether it prints as more than a number: PhiFlow names its dimensions even where they are of size 1."""
    try:
        if _is_phiflow(loss):
            return bool(loss.shape.rank)
        if isinstance(loss, (int, float)):
            return False
        size = math.prod(loss.shape)
    except Exception:
        return False
    return bool(size != 1)


def _is_torch(loss: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(loss, torch.Tensor)


def _is_phiflow(loss: Any) -> bool:
    return type(loss).__module__.partition(".")[0] in ("phi", "phiml")


def _native(loss: Any) -> Any:
    """What a value of PhiFlow wraps; anything else as it is."""
    return loss.native(loss.shape) if _is_phiflow(loss) else loss
