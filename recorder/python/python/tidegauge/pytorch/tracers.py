"""Whether a call is for a tracer, which writes down what is done instead of doing it.

What our hooks ask would become part of the program that it writes: a size that torch.jit.trace takes for a
constant, an attribute of a proxy that torch.fx takes for a step of the computation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.fx._symbolic_trace as fx

_jit_state = torch._C._get_tracing_state
# The newer of the two names says nothing on standard error.
_is_fx: Callable[[], bool] = getattr(
    fx, "is_fx_symbolic_tracing", getattr(fx, "is_fx_tracing", lambda: False)
)


def is_traced() -> bool:
    """Whether torch.jit.trace, torch.fx or what is built on it (make_fx) traces in this thread."""
    return _jit_state() is not None or _is_fx()
