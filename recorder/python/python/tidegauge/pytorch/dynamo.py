"""Keeps torch.compile away from our hooks.

Where torch calls a hook from a frame that it compiles, Dynamo traces into it, and the hook returns at once
(`torch.compiler.is_compiling`). Where it calls one from a frame that it does not compile, between two
compiled parts, it would compile the hook for itself: that is what is prevented here. It is a mark on the
code, and imports no Dynamo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def never_compile(*functions: Callable[..., Any]) -> None:
    """Has calls of these functions run as they are, and what they call. Torch before 2.7 has no such mark."""
    try:
        from torch._C._dynamo.eval_frame import _FrameAction, _FrameExecStrategy, set_code_exec_strategy
    except ImportError:
        return
    skip = _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP)
    for function in functions:
        set_code_exec_strategy(function.__code__, skip)
