"""Functions of torch that are wrapped while recording, and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: What a wrapper does that could not be put back, since somebody has wrapped it in turn, is up to its own
#: switch.
Undo = Callable[[], object]


class Patches:
    """Attributes that were replaced, the last one first out."""

    def __init__(self) -> None:
        self._undo: list[Undo] = []

    def replace(self, owner: Any, name: str, wrapper: Any) -> None:
        """Sets `owner.name`, a class's or module's own attribute."""
        former = vars(owner)[name]
        setattr(owner, name, wrapper)

        def undo() -> None:
            # Somebody else's wrapper around ours stays; ours lets calls through once recording has ended.
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, former)

        self._undo.append(undo)

    def add(self, undo: Undo) -> None:
        """Has `undo` called when everything is put back."""
        self._undo.append(undo)

    def restore(self) -> list[Exception]:
        """Puts everything back; what could not be."""
        errors: list[Exception] = []
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as error:
                errors.append(error)
        return errors
