"""One example: a function whose source is shown, then run."""

from __future__ import annotations

import importlib.util
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A title, and the function that is the example."""

    title: str
    function: Callable[[], None]
    needs_torch: bool = False

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.function.__name__.replace("_", "-")

    def show(self) -> None:
        """Prints title and source, then runs it."""
        print(f"\n=== {self.title} ({self.name})\n")
        source = inspect.getsource(self.function).split("\n", 1)[1]
        print(textwrap.indent(textwrap.dedent(source).rstrip(), "    | ", lambda line: True))
        print()
        if self.needs_torch and not has_torch():
            print("(not run: torch is not installed here)")
            return
        self.function()


def has_torch() -> bool:
    """Whether PyTorch can be imported; it is not."""
    return importlib.util.find_spec("torch") is not None
