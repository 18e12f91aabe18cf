"""Calls a function when a module has been imported, and leaves nothing behind in the import system then.

The module's loader, an object of its own for each import, gets an `exec_module` that calls the function
afterwards. No class of loader is replaced, so `inspect`, `pkgutil` and whoever looks at `__loader__` see what
they expect.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(name: str, call: Callable[[], None]) -> None:
    """Calls `call`, which must not raise, once module `name` is imported: at once if it is already.

    Nothing happens if it never is. A module that is being imported right now counts when that has ended.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is None:
        sys.meta_path.insert(0, _Finder(name, call))
    elif isinstance(spec, ModuleSpec) and getattr(spec, "_initializing", False):
        _when_initialized(module, spec, call)
    else:
        call()


class _Finder:
    """First in `sys.meta_path` until the module is imported: many ask where it is and do not import it."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        self._name = name
        self._call = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        finders: list[Any] = list(sys.meta_path)
        # Those that would have been asked next: who comes before may ask all again, us among them.
        behind = finders[finders.index(self) + 1 :] if self in finders else finders
        found = (
            finder.find_spec(fullname, path, target) for finder in behind if hasattr(finder, "find_spec")
        )
        spec: ModuleSpec | None = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        execute = getattr(loader, "exec_module", None)
        if isinstance(loader, type) or execute is None or not hasattr(loader, "__dict__"):
            return

        def exec_module(module: ModuleType) -> None:
            # Somebody else who waits for it, of this class too, may have taken it away.
            vars(loader).pop("exec_module", None)
            execute(module)
            # Not reached if it fails: then it may be tried again, with another loader.
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._call()

        try:
            loader.exec_module = exec_module
        except AttributeError:
            # An object without room for it: the module is imported all the same.
            return


def _when_initialized(module: ModuleType, spec: ModuleSpec, call: Callable[[], None]) -> None:
    """For a module whose code runs at this moment, somewhere below on the stack.

    The end of its import is seen by what the import system then writes into its spec.
    """
    before = type(spec)

    class Watched(before):  # type: ignore[misc, valid-type]
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_initializing" and not value:
                self.__class__ = before  # type: ignore[assignment]
                if sys.modules.get(spec.name) is module:
                    call()

    spec.__class__ = Watched
