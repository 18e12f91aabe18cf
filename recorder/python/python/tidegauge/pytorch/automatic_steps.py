"""Training steps of a program that makes none by itself.

A step begins with the data loader's next batch, where a model is in training, else with the first forward of
a model in training. It ends when, after an optimizer's step, the next batch is asked for: gradients that are
accumulated over several batches are one step, and so are two optimizers that take turns on a batch. Where no
data loader is used, it ends with the next forward after an optimizer's step. The first step always begins
with a forward: before, it is not known whether the program makes steps of its own. Once it does, there are no
more automatic ones.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import _native, steps
from .notes import failed
from .tensors import leading_dimension

if TYPE_CHECKING:
    from .sites import ModuleSites

#: So often an optimizer may step on one batch before the data loader counts as used up (a list of batches was
#: made).
MOST_STEPS_PER_BATCH = 16


class AutomaticSteps:
    """Makes steps; all of them on the thread that trains first."""

    def __init__(self, sites: ModuleSites, is_on: bool) -> None:
        self._sites = sites
        #: False for good once the program makes steps.
        self._is_on = is_on
        self._thread: int | None = None
        self._number = 0
        self._is_open = False
        #: Whether an optimizer has stepped in this step, and ever.
        self._has_stepped = False
        self._has_optimizer = False
        #: Whether a data loader was asked since the last step ended.
        self._has_data = False
        self._steps_on_batch: dict[int, int] = {}
        self._loss: float | None = None
        self._batch_size: int | None = None
        self._has_forward = False

    def install(self) -> None:
        """Listens for steps of the program's own."""
        if self._is_on:
            steps._listeners.append(self._on_own_step)

    def remove(self) -> None:
        """Ends the last step."""
        if self._on_own_step in steps._listeners:
            steps._listeners.remove(self._on_own_step)
        if self._is_open and self._thread == threading.get_ident():
            self._end()
        self._is_on = False

    def before_data(self, iterator: Any) -> None:
        """A data loader is asked for its next batch."""
        if not self._is_on or self._thread not in (None, threading.get_ident()):
            return
        if self._is_open and self._has_stepped:
            self._end()
        # What has no length may be at its end: such steps begin with the forward.
        if not self._is_open and self._number > 0 and self._trains() and has_more(iterator):
            self._begin()

    def after_data(self, batch: Any) -> None:
        """A data loader has brought a batch."""
        if self._is_on and self._thread in (None, threading.get_ident()) and self._trains():
            self._has_data = True
            try:
                if not self._has_forward:
                    self._batch_size = leading_dimension(batch)
            except Exception as error:
                failed("the size of a batch", error)

    def on_forward(self, given: list[Tensor]) -> None:
        """A model is called to be trained, with these tensors."""
        if not self._is_on:
            return
        if self._thread is None:
            self._thread = threading.get_ident()
        elif self._thread != threading.get_ident():
            return
        if self._is_open and self._has_stepped and not self._has_data:
            self._end()
        if not self._is_open:
            self._begin()
        if not self._has_forward and not self._has_data:
            self._batch_size = leading_dimension(given)
        self._has_forward = True

    def on_backward(self, loss: float | None) -> None:
        """Backward begins, at a loss if that is a number that can be read without waiting for a device."""
        if not self._is_on or self._thread not in (None, threading.get_ident()):
            return
        if self._has_optimizer:
            # Training without modules: backward is the first that is seen of it.
            if self._is_open and self._has_stepped and not self._has_data:
                self._end()
            if not self._is_open:
                self._thread = threading.get_ident()
                self._begin()
        if loss is not None:
            self._loss = loss

    def on_optimizer(self, optimizer: Any) -> None:
        """An optimizer has made a step."""
        self._has_optimizer = True
        if not self._is_open or self._thread != threading.get_ident():
            return
        self._has_stepped = True
        count = self._steps_on_batch.get(id(optimizer), 0) + 1
        self._steps_on_batch[id(optimizer)] = count
        if count > MOST_STEPS_PER_BATCH:
            self._has_data = False

    def _on_own_step(self, _number: int) -> None:
        self._is_on = False
        if self._is_open and self._thread == threading.get_ident():
            self._end()

    def _begin(self) -> None:
        self._is_open = True
        _native.step_begin(self._number)

    def _end(self) -> None:
        _native.step_end(self._number, self._loss, self._batch_size)
        self._number += 1
        self._is_open = self._has_stepped = self._has_data = self._has_forward = False
        self._steps_on_batch.clear()
        self._loss = self._batch_size = None

    def _trains(self) -> bool:
        """Whether what happens now is for training, as far as can be told."""
        return torch.is_grad_enabled() and self._sites.any_trains() is not False


def has_more(iterator: Any) -> bool | None:
    """Whether a data loader's iterator has another batch; None where the data set does not know its
    length.
    """
    try:
        return bool(iterator._num_yielded < len(iterator))
    except Exception:
        return None
