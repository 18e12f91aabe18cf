"""What is put into torch while recording, and taken out again."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any

import torch

from .. import _native
from .._native import Site, Span
from .allocations import Allocations
from .automatic_steps import AutomaticSteps
from .forward import Forward
from .notes import failed
from .patches import Patches
from .phases import Phases
from .sites import ModuleSites
from .tags import Tags
from .threads import ThreadState


class Installation:
    """Everything of one recording. Hooks ask it whether they are still wanted, what cannot be taken out
    included.
    """

    def __init__(self, *, allocations: bool, phases: bool, steps: bool) -> None:
        self.pid = os.getpid()
        #: False once everything is taken out.
        self.is_active = True
        self.has_phases = phases
        self.patches = Patches()
        self.threads = ThreadState()
        self.sites = ModuleSites()
        self.tags = Tags()
        self.optimizer_span = Span("optimizer")
        #: Only ever entered to learn where a thread is.
        self.here = Site("torch")
        self.steps = AutomaticSteps(self.sites, steps)
        self._allocations = Allocations(self) if allocations else None
        self._hooks = (Forward(self), Phases(self))

    def install(self, models: list[Any], optimizers: list[Any], name: str | None) -> None:
        """Puts everything in, as far as this torch has it."""
        self._try("versions", _tell_versions)
        if self._allocations is not None:
            allocations = self._allocations
            self._try("allocations", lambda: allocations.install(models, optimizers))
        for hooks in self._hooks:
            self._try(type(hooks).__name__.lower(), hooks.install)
        self._try("steps", self.steps.install)
        self.add(models, optimizers, name)

    def add(self, models: list[Any], optimizers: list[Any], name: str | None) -> None:
        """Learns of models and optimizers, whose names and blocks are known from here on."""
        for number, model in enumerate(models):
            own_name = name if number == 0 or name is None else f"{name}-{number + 1}"
            self._try("a model", functools.partial(self._add_model, model, own_name))
        for optimizer in optimizers:
            self.steps.meet_optimizer()
            self.tags.gradients(optimizer)
            self.tags.optimizer_state(optimizer)

    def _add_model(self, model: Any, name: str | None) -> None:
        if name is not None or id(model) not in self.sites.by_id:
            self.sites.meet(model, None, name)
        self.tags.parameters(model)

    def remove(self) -> None:
        """Takes everything out; the last step and the rows of modules that were never called are told
        before.
        """
        if not self.is_active:
            return
        # What an exception has left open and nobody has come by for.
        self._try("what is under way", self.threads.leave_all)
        self._try("steps", self.steps.remove)
        self.is_active = False
        for error in self.patches.restore():
            failed("a hook that was to be taken out", error)
        if self._allocations is not None:
            self._try("allocations", self._allocations.remove)

    def abandon(self) -> None:
        """Takes out of a forked child what its parent has put in; the child records nothing."""
        self.is_active = False
        self.patches.restore()
        if self._allocations is not None:
            self._allocations.forget()

    def _try(self, what: str, install: Callable[[], object]) -> None:
        try:
            install()
        except Exception as error:
            failed(what, error)


def _tell_versions() -> None:
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
    _native.versions(
        json.dumps({name: str(version) for name, version in versions.items() if version is not None})
    )
