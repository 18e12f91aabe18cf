"""Paths of modules, and the site that stands for each.

Modules are known by their identity, and nothing is kept that would keep them alive or be copied with them.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import Module

from .._native import Site
from .dynamo import never_compile

#: Rows that the table `modules` gets of a module that is called with ever other shapes.
MOST_ROWS = 8


class ModuleSite:
    """A module of the program: its path, and the site that blocks bear which are allocated in it."""

    __slots__ = (
        "key",
        "path",
        "site",
        "arrive",
        "is_root",
        "is_given",
        "has_trained",
        "reference",
        "last_shape",
        "seen_shapes",
        "rows_left",
        "has_row",
        "has_told_parts",
    )

    def __init__(self, module: Module, path: str, forget: Callable[[Any], None], is_given: bool) -> None:
        self.key = id(module)
        self.path = path
        self.site = Site(path)
        #: For autograd nodes that the module has made.
        self.arrive = _arrival(self.site)
        #: Whether it was called from outside of all modules.
        self.is_root = False
        #: Whether its path is known for good: of a model that was given, or of a part of a larger one.
        self.is_given = is_given
        #: Whether it was called from outside of all modules in training mode, with gradients.
        self.has_trained = False
        self.reference = weakref.ref(module, forget)
        #: Of the first argument of the last call that was looked at.
        self.last_shape: Any = self
        self.seen_shapes: set[Any] = set()
        self.rows_left = MOST_ROWS
        self.has_row = False
        #: Whether those of its parts that its first call did not come to have rows.
        self.has_told_parts = False


def _arrival(site: Site) -> Callable[[Any], None]:
    enter = site.enter
    is_compiling = torch.compiler.is_compiling

    def arrive(_gradients: Any) -> None:
        # Backward comes to what this module has made. A value returned would replace the gradients.
        if is_compiling():
            return
        enter()

    never_compile(arrive)
    return arrive


class ModuleSites:
    """All modules that have been met, by identity."""

    def __init__(self) -> None:
        self.by_id: dict[int, ModuleSite] = {}
        #: Modules with parameters that were called from outside of all others, or given.
        self.roots: dict[int, weakref.ref[Module]] = {}
        self._names = RootNames()

    def meet(self, module: Module, parent: ModuleSite | None, name: str | None = None) -> ModuleSite:
        """Gives a module and those within it their paths; `parent` is the one that calls it."""
        inner = unwrapped(module)
        if parent is not None:
            # In no attribute of its parent: made during the call, or kept in a plain list.
            path = f"{parent.path}.{type(inner).__name__}"
        else:
            path = self._root_path(inner, name)
        for within, part in inner.named_modules():
            self._add(part, f"{path}.{within}" if within else path, is_given=bool(within) or name is not None)
        wrapper: Any = module
        while wrapper is not inner:
            self._add(wrapper, path, is_given=name is not None)
            wrapper = next(_wrapped_in(wrapper), inner)
        site = self.by_id[id(module)]
        if parent is None:
            self.add_root(module)
        return site

    def add_root(self, module: Module) -> None:
        """Remembers a module that is called from outside of all others."""
        key = id(module)
        self.by_id[key].is_root = True
        # One without parameters, a loss, is in training mode for ever.
        if next(module.parameters(), None) is not None:
            self.roots[key] = weakref.ref(module, lambda _: self.roots.pop(key, None))

    def within(self, module: Module) -> Iterator[tuple[ModuleSite, Module]]:
        """The module and those within it, with what is known of them."""
        for part in unwrapped(module).modules():
            site = self.by_id.get(id(part))
            if site is not None:
                yield site, part

    def any_trains(self) -> bool | None:
        """Whether a model is in training mode; None if there is none."""
        is_any = None
        # The newest first: most likely the one that trains.
        for root in reversed(list(self.roots.values())):
            module = root()
            if module is not None:
                if getattr(module, "training", True):
                    return True
                is_any = False
        return is_any

    def _add(self, module: Module, path: str, *, is_given: bool) -> None:
        key = id(module)
        known = self.by_id.get(key)
        # A part that was called by itself before the whole was has a makeshift path.
        if known is not None and (known.is_given or not is_given):
            return
        self.by_id[key] = ModuleSite(module, path, lambda _: self._forget(key), is_given)

    def _forget(self, key: int) -> None:
        self.by_id.pop(key, None)
        self._names.give_back(key)

    def _root_path(self, module: Module, name: str | None) -> str:
        if name is not None:
            return name
        known = self.by_id.get(id(module))
        if known is not None:
            return known.path
        base = type(module).__name__
        # Copies that torch.nn.DataParallel makes for one call are the module that they are of.
        if getattr(module, "_is_replica", False):
            return base
        return self._names.take(id(module), base)


class RootNames:
    """Paths for modules that were given none: the class, numbered where several are alive. The lowest number
    is taken that is free, so that modules made anew for every batch all have the same.
    """

    def __init__(self) -> None:
        self._taken: dict[int, tuple[str, int]] = {}
        #: For each class the numbers that were given back, a heap, and the first that was never taken.
        self._free: dict[str, list[int]] = {}
        self._next: dict[str, int] = {}

    def take(self, key: int, base: str) -> str:
        """The path of a module, by its identity."""
        free = self._free.get(base)
        if free:
            number = heapq.heappop(free)
        else:
            number = self._next.get(base, 1)
            self._next[base] = number + 1
        self._taken[key] = (base, number)
        return base if number == 1 else f"{base}-{number}"

    def give_back(self, key: int) -> None:
        """The module is no more."""
        taken = self._taken.pop(key, None)
        if taken is not None:
            base, number = taken
            heapq.heappush(self._free.setdefault(base, []), number)


def _wrapped_in(module: Any) -> Iterator[Module]:
    """What a wrapper of torch's stands for: of torch.compile, of data parallel training."""
    kind = type(module).__name__
    if kind == "OptimizedModule":
        name = "_orig_mod"
    elif kind in ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"):
        name = "module"
    else:
        return
    inner = module._modules.get(name)
    if isinstance(inner, Module):
        yield inner


def unwrapped(module: Module) -> Module:
    """The program's own module in those that torch has wrapped around it."""
    while (inner := next(_wrapped_in(module), None)) is not None:
        module = inner
    return module
