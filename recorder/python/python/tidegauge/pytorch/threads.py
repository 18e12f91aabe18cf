"""Where each thread of the program is: in which modules and optimizer steps, and how that is put right.

Torch calls a module's forward hooks after an exception, too, but not after a KeyboardInterrupt or SystemExit,
and an optimizer's hooks after no exception at all. What such a call has left open is found when the thread
comes by again: the Python stack says which calls are really under way.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, NamedTuple

import torch

from .._native import Site, Span
from .sites import ModuleSite

#: A module's forward that is under way: the module; where the thread was before; the phase that it is, if it is
#: the outermost; and the shapes that it is called with, if a row is to be made of the call. A plain tuple, since
#: one is made for each call of a module.
Call = tuple[ModuleSite, int, "Span | None", "tuple[Any, ...] | None"]


class OptimizerStep(NamedTuple):
    """An optimizer's step that is under way."""

    before: int
    #: The phase that it is, where phases are recorded.
    span: Span | None


class ThreadState(threading.local):
    """Of the thread that looks at it."""

    def __init__(self) -> None:
        #: Forwards under way, the outermost first.
        self.calls: list[Call] = []
        #: Optimizer steps under way, the outermost first.
        self.optimizer_steps: list[OptimizerStep] = []
        #: Sequence numbers of the autograd nodes that know their module, since the outermost forward began.
        self.known_nodes: set[int] = set()
        #: The number that the first autograd node got which was made in the outermost forward.
        self.first_node = 0
        #: Hooks on what the backward pass under way begins with.
        self.root_hooks: list[Any] = []
        self.is_zeroing = False

    def forget_ended(self) -> None:
        """Ends what is on our stacks and no more on Python's. Costs microseconds: to be called only if a
        stack is not empty where it should be.
        """
        modules, optimizer_steps = _under_way(sys._getframe(1))
        alive = 0
        for module in modules:
            if alive < len(self.calls) and self.calls[alive][0].key == module:
                alive += 1
        self.leave_calls(alive)
        self.leave_optimizer_steps(optimizer_steps)

    def leave_calls(self, depth: int) -> None:
        """Ends forwards until `depth` are left."""
        while len(self.calls) > depth:
            _, before, span, _ = self.calls.pop()
            Site.leave(before)
            if span is not None:
                span.end()
        if not self.calls:
            self.known_nodes.clear()

    def leave_optimizer_steps(self, depth: int) -> None:
        """Ends optimizer steps until `depth` are left."""
        while len(self.optimizer_steps) > depth:
            step = self.optimizer_steps.pop()
            Site.leave(step.before)
            if step.span is not None:
                step.span.end()

    def leave_all(self) -> None:
        """Ends everything: there will be no hooks that could."""
        self.leave_calls(0)
        self.leave_optimizer_steps(0)

    def forget_roots(self) -> None:
        """Takes the hooks off that the pass which has ended had put on what it began with."""
        while self.root_hooks:
            self.root_hooks.pop().remove()


def _under_way(frame: Any) -> tuple[list[int], int]:
    """Ids of modules whose calls are on the Python stack, the outermost first, and how many optimizer steps
    are.
    """
    call = torch.nn.Module._call_impl.__code__
    step = _step_code()
    modules: list[int] = []
    optimizer_steps = 0
    while frame is not None:
        if frame.f_code is call:
            modules.append(id(frame.f_locals.get("self")))
        elif frame.f_code is step:
            optimizer_steps += 1
        frame = frame.f_back
    modules.reverse()
    return modules, optimizer_steps


def _step_code() -> Any:
    """The code of the function in which torch calls an optimizer's hooks; all classes have the same."""
    return torch.optim.Optimizer.profile_hook_step(lambda: None).__code__
