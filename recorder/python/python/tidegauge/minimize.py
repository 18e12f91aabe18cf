"""Optimizers that call the program: SciPy's `minimize`, PhiFlow's `math.minimize`, anything that takes a
function.

    from tidegauge.minimize import recorded, minimize

    result = scipy.optimize.minimize(recorded(loss), x0, method="L-BFGS-B", jac=True)
    result = minimize(phi.math.minimize, loss, solve)          # with a summary at the end

Each evaluation of the function is a span `evaluation` and, where a number is returned, a row
`loss_evaluation`. There are no training steps here: how often such an optimizer calls is its own affair.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

from . import _native

Result = TypeVar("Result")


@dataclass
class Evaluations:
    """What is known of the evaluations so far. Bytes are of the process's resident memory; None where
    unknown.
    """

    count: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    best_loss: float | None = None
    start_bytes: int | None = None
    peak_bytes: int | None = None
    first_end_bytes: int | None = None
    last_bytes: int | None = None

    @property
    def growth_bytes_per_evaluation(self) -> float | None:
        """How much memory an evaluation leaves behind, on average, after the first; None for fewer than
        two.
        """
        if self.count < 2 or self.last_bytes is None or self.first_end_bytes is None:
            return None
        return (self.last_bytes - self.first_end_bytes) / (self.count - 1)

    def note(self, loss: float | None) -> None:
        """Takes in an evaluation that has ended."""
        used_bytes = _native.rss_bytes()
        self.count += 1
        if self.count == 1:
            self.first_loss, self.first_end_bytes = loss, used_bytes
        self.last_loss, self.last_bytes = loss, used_bytes
        if loss is not None and (self.best_loss is None or loss < self.best_loss):
            self.best_loss = loss
        if used_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, used_bytes)

    def __str__(self) -> str:
        if self.count == 0:
            return "no evaluation"
        text = f"{self.count} evaluation{'s' if self.count != 1 else ''}"
        if self.first_loss is not None and self.last_loss is not None:
            text += f", loss {self.first_loss:.6g} → {self.last_loss:.6g}, best {self.best_loss:.6g}"
        if self.peak_bytes is not None:
            text += f", peak RSS {_mebibytes(self.peak_bytes)}"
        growth = self.growth_bytes_per_evaluation
        if growth is not None:
            text += f", growth {_mebibytes(growth)} per evaluation"
        return text


def recorded(
    function: Callable[..., Result],
    *,
    progress: int = 0,
    name: str = "evaluation",
    first: int = 0,
    stream: TextIO | None = None,
) -> Callable[..., Result]:
    """`function` with each of its calls recorded; takes and returns the same, and raises what it raises.

    The loss is what it returns: a number, an array or tensor of one element (of several: a batch of
    PhiFlow's, their sum), or the first of a tuple, as of functions that return the gradient or other values
    along with it. What is none of these is recorded without a number.

    progress: a line on standard error for every so many evaluations, 0 for none. name: of the span. first:
    number of the first evaluation. stream: where the lines go to.

    The wrapper's attribute `evaluations` tells what is known so far. Its cost is some microseconds a call,
    and where the loss is on an accelerator, waiting for it, which such optimizers do anyway.
    """
    evaluations = Evaluations(start_bytes=_native.rss_bytes())
    span = _native.Span(name)

    @functools.wraps(function)
    def evaluate(*arguments: Any, **keywords: Any) -> Result:
        with span:
            result = function(*arguments, **keywords)
        loss = loss_of(result)
        number = first + evaluations.count
        if loss is not None:
            _native.loss_evaluation(number, loss)
        evaluations.note(loss)
        if progress and (evaluations.count % progress == 0 or evaluations.count == 1):
            _print(
                f"evaluation {number}: {_described(loss)}, RSS {_mebibytes(evaluations.last_bytes)}", stream
            )
        return result

    evaluate.evaluations = evaluations  # type: ignore[attr-defined]
    return evaluate


def minimize(
    minimizer: Callable[..., Result],
    function: Callable[..., Any],
    *arguments: Any,
    progress: int = 0,
    summary: bool = True,
    stream: TextIO | None = None,
    **keywords: Any,
) -> Result:
    """`minimizer(function, *arguments, **keywords)`, each evaluation recorded; what the minimizer returns or
    raises.

    The whole is a span `minimize`. progress: as of `recorded`; summary: a line on standard error at the end
    with the number of evaluations, the loss, the peak, and the growth of memory for each evaluation.
    """
    evaluate = recorded(function, progress=progress, stream=stream)
    try:
        with _native.Span("minimize"):
            return minimizer(evaluate, *arguments, **keywords)
    finally:
        if summary:
            _print(str(evaluate.evaluations), stream)  # type: ignore[attr-defined]


def loss_of(result: Any) -> float | None:
    """The number in what an objective returns; None if there is none."""
    if isinstance(result, (tuple, list)) and result:
        result = result[0]
    try:
        # Of the type: tensors of PhiFlow have an attribute of every name.
        kind = type(result)
        if hasattr(kind, "native") and hasattr(kind, "shape"):
            result = result.native(result.shape)
            kind = type(result)
        if hasattr(kind, "detach"):
            result = result.detach()
        if hasattr(kind, "sum") and hasattr(kind, "dtype"):
            result = result.sum()
        return float(result)
    except Exception:  # traced without values, or no number
        return None


def _described(loss: float | None) -> str:
    return "no loss" if loss is None else f"loss={loss:.6g}"


def _mebibytes(size: float | None) -> str:
    return "unknown" if size is None else f"{size / 2**20:.1f} MiB"


def _print(line: str, stream: TextIO | None) -> None:
    print(f"tidegauge: {line}", file=stream or sys.stderr)
