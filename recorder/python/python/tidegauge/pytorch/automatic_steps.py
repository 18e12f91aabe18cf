"""Training steps of a program that makes none by itself.

A step begins with the data loader's next batch, where a model is in training, else with the first forward of
a model in training. It ends when, after an optimizer's step, the next batch is asked for: gradients that are
accumulated over several batches are one step, and so are two optimizers that take turns on a batch. Where no
data loader is used, or the same optimizer has stepped twice on a batch, it ends with the next forward after
an optimizer's step, or when the model is evaluated. What is left of an accumulation when the loader has no
more ends with the next loader or evaluation. The first step always begins with a forward, and not before
there is an optimizer: it is not known by then whether the program makes steps of its own. Once it does, there
are no more automatic ones.
"""

from __future__ import annotations

import functools
import gc
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from .. import _native, steps
from .loaders import LoaderLengths
from .notes import failed
from .tensors import leading_dimension

if TYPE_CHECKING:
    from .sites import ModuleSites

Arguments = ParamSpec("Arguments")


def _guarded(
    method: Callable[Concatenate[AutomaticSteps, Arguments], None],
) -> Callable[Concatenate[AutomaticSteps, Arguments], None]:
    """Steps are made from within calls of the training loop, into which nothing may be raised."""

    @functools.wraps(method)
    def guarded(self: AutomaticSteps, /, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> None:
        try:
            method(self, *arguments, **keywords)
        except Exception as error:
            failed("training steps", error)

    return guarded


class _Trainer:
    """A thread, as long as it lives: its number may be another's afterwards."""

    __slots__ = ("has_forward", "__weakref__")

    def __init__(self) -> None:
        #: Whether it calls models to train them, while the steps are another thread's.
        self.has_forward = False


class AutomaticSteps:
    """Makes steps; all of them on the thread that trains first, and when that has ended, on the next."""

    def __init__(self, sites: ModuleSites, is_on: bool) -> None:
        self._sites = sites
        self._pid = os.getpid()
        #: False for good once the program makes steps.
        self._is_on = is_on
        self._threads = threading.local()
        #: The thread whose steps they are.
        self._owner: weakref.ref[_Trainer] | None = None
        self._number = 0
        self._is_open = False
        #: Whether there is an optimizer, and whether one has ever stepped.
        self._knows_optimizer = False
        self._has_optimizer = False
        #: Whether gradients were accumulated in this step, and an optimizer has stepped.
        self._has_backward = False
        self._has_stepped = False
        #: Whether a data loader was asked since the last step ended, and whether it had no more.
        self._has_data = False
        self._is_exhausted = False
        self._steps_on_batch: dict[int, int] = {}
        self._loss: float | None = None
        self._batch_size: int | None = None
        self._has_forward = False
        #: Sizes of batches that data loaders have brought.
        self._sizes: deque[int] = deque(maxlen=8)
        self.lengths = LoaderLengths()
        #: Steps of all optimizers so far.
        self.updates = 0

    def install(self) -> None:
        """Listens for steps of the program's own, and looks for optimizers."""
        if self._is_on:
            steps._listeners.append(self._on_own_step)
            self._knows_optimizer = self._knows_optimizer or any(
                issubclass(type(thing), torch.optim.Optimizer) for thing in gc.get_objects()
            )

    def remove(self) -> None:
        """Ends the last step."""
        if self._on_own_step in steps._listeners:
            steps._listeners.remove(self._on_own_step)
        if self._is_open and self._is_mine():
            self._end()
        # Another thread's step stays open: a thread can end its own only.
        self._is_on = self._is_open = False
        self._owner = None

    def meet_optimizer(self) -> None:
        """An optimizer is there."""
        self._knows_optimizer = True

    @_guarded
    def before_data(self, iterator: Any) -> None:
        """A data loader is asked for its next batch."""
        if not self._is_on or not self._is_mine():
            return
        if self._is_open and (self._has_stepped or self._is_left_over()):
            self._end()
        # What has no length may be at its end: such steps begin with the forward.
        if not self._is_open and self._number > 0 and self._trains() and self.lengths.has_more(iterator):
            self._begin()

    @_guarded
    def after_data(self, batch: Any) -> None:
        """A data loader has brought a batch."""
        if self._is_on and self._is_mine() and self._trains():
            self._has_data = True
            size = leading_dimension(batch)
            if size is not None:
                self._sizes.append(size)
            if not self._has_forward:
                self._batch_size = size

    @_guarded
    def after_last_data(self) -> None:
        """A data loader has no more."""
        if self._is_on and self._is_mine() and self._trains():
            self._is_exhausted = True

    @_guarded
    def on_forward(self, given: list[Tensor]) -> None:
        """A model is called to be trained, with these tensors."""
        if not self._is_on or not self._knows_optimizer:
            return
        if not self._is_mine():
            self._here().has_forward = True
            return
        if self._is_open and self._has_stepped and not self._has_data:
            self._end()
        if not self._is_open:
            self._begin()
        if not self._has_forward:
            size = leading_dimension(given)
            # A loop that asks for batches ahead trains on an earlier one than the loader has brought last.
            if not self._has_data or (size is not None and size in self._sizes) or self._batch_size is None:
                self._batch_size = size
        self._has_forward = True

    @_guarded
    def on_evaluation(self) -> None:
        """A model that was trained is called to be evaluated."""
        if self._is_on and self._is_open and self._is_mine():
            if (self._has_stepped and not self._has_data) or self._is_left_over():
                self._end()

    @_guarded
    def on_backward(self, loss: float | None, accumulates: bool) -> None:
        """Backward begins, at a loss if that is a number that can be read without waiting for a device.

        `accumulates` is False where gradients are returned (`torch.autograd.grad`): they may be of anything.
        """
        if not self._is_on or not self._is_mine():
            return
        if self._has_optimizer:
            # Training without modules: backward is the first that is seen of it.
            if self._is_open and self._has_stepped and not self._has_data:
                self._end()
            if not self._is_open:
                self._begin()
        if accumulates:
            self._has_backward = True
            if loss is not None:
                self._loss = loss

    @_guarded
    def before_closure(self) -> None:
        """An optimizer is about to step with a closure, in which forward and backward are."""
        if not self._is_on or not self._is_mine():
            return
        if self._is_open and self._has_stepped and not self._has_data:
            self._end()
        if not self._is_open:
            self._begin()

    @_guarded
    def on_optimizer(self, optimizer: Any) -> None:
        """An optimizer has made a step, on any thread: some step in backward, which has threads of its own."""
        self.updates += 1
        self._knows_optimizer = self._has_optimizer = True
        # A thread that trains beside the one whose steps they are does not end them.
        if not self._is_open or (not self._is_mine() and self._here().has_forward):
            return
        self._has_stepped = True
        count = self._steps_on_batch.get(id(optimizer), 0) + 1
        self._steps_on_batch[id(optimizer)] = count
        if count > 1:
            # A batch, or a list of them, is used again and again.
            self._has_data = False

    def _on_own_step(self, _number: int) -> None:
        self._is_on = False
        if self._is_open and self._is_mine():
            self._end()

    def _is_left_over(self) -> bool:
        """Whether gradients were accumulated that no optimizer has used when the loader's end came."""
        return self._is_exhausted and self._has_backward

    def _here(self) -> _Trainer:
        """The thread that this is."""
        trainer: _Trainer | None = getattr(self._threads, "trainer", None)
        if trainer is None:
            trainer = self._threads.trainer = _Trainer()
        return trainer

    def _is_mine(self) -> bool:
        """Whether the steps are this thread's, or nobody's."""
        owner = None if self._owner is None else self._owner()
        return owner is None or owner is self._here()

    def _on_thread_end(self, reference: weakref.ref[_Trainer]) -> None:
        # Called by the thread itself, with the last that is left of it; in a forked child by another.
        if self._owner is reference:
            self._owner = None
            if self._is_open and self._pid == os.getpid():
                self._end()

    def _begin(self) -> None:
        here = self._here()
        if self._owner is None or self._owner() is not here:
            self._owner = weakref.ref(here, self._on_thread_end)
        self._is_open = True
        _native.step_begin(self._number)

    def _end(self) -> None:
        _native.step_end(self._number, self._loss, self._batch_size)
        self._number += 1
        self._is_open = self._has_stepped = self._has_backward = False
        self._has_data = self._is_exhausted = self._has_forward = False
        self._steps_on_batch.clear()
        self._loss = self._batch_size = None

    def _trains(self) -> bool:
        """Whether what happens now is for training, as far as can be told."""
        return torch.is_grad_enabled() and self._sites.any_trains() is not False
