"""Runs a program in this process as `python` would have run it: a script, a module or a line of code.

The module `__main__` that this interpreter has is emptied and becomes the program's, so that whatever finds
it by name (pickle, `multiprocessing` where it spawns, `inspect`) finds what it is used to.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import runpy
import sys
from dataclasses import dataclass, field
from importlib.machinery import BuiltinImporter, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, TracebackType
from typing import Any, NoReturn, Protocol

#: What python exits with if it cannot open a script.
_CANNOT_OPEN = 2
#: What a shell shows for a program that died of ^C.
_INTERRUPTED = 130
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Loaded:
    """Code, and the variables of `__main__` that it finds."""

    code: CodeType
    loader: Any
    file: str | None = None
    spec: ModuleSpec | None = None
    package: str | None = None
    cached: str | None = None

    def variables(self) -> dict[str, Any]:
        """The variables, in the order that python gives them."""
        found: dict[str, Any] = {
            "__name__": "__main__",
            "__doc__": None,
            "__package__": self.package,
            "__loader__": self.loader,
            "__spec__": self.spec,
            "__builtins__": sys.modules["builtins"],
        }
        if sys.version_info < (3, 14):
            found["__annotations__"] = {}
        if self.file is not None:
            found |= {"__file__": self.file, "__cached__": self.cached}
        return found


class Program(Protocol):
    """What python can be told to run."""

    what: str
    arguments: list[str]

    @property
    def option(self) -> str:
        """By which option of python: `-m`, `-c`, or none for a script."""

    @property
    def name(self) -> str:
        """What its runs are named after."""

    def check(self) -> None:
        """Ends the process, as python does, if the program cannot be opened."""

    def load(self) -> Loaded:
        """Sets `sys.argv` and `sys.path` and finds the code."""


@dataclass
class Script:
    """`python train.py`; a folder or an archive with a `__main__.py`; `-` for standard input."""

    what: str
    arguments: list[str] = field(default_factory=list)
    option = ""

    @property
    def name(self) -> str:
        stem = os.path.splitext(os.path.basename(os.path.abspath(self.what)))[0]
        return stem if self.what != "-" else "python"

    def check(self) -> None:
        if self.what == "-":
            return
        try:
            if not os.path.isdir(self.what):
                open(self.what, "rb").close()
        except OSError as error:
            path = _absolute(self.what)
            print(f"{sys.executable}: can't open file {path!r}: {error}".rpartition(":")[0], file=sys.stderr)
            raise SystemExit(_CANNOT_OPEN) from None

    def load(self) -> Loaded:
        sys.argv[:] = [self.what, *self.arguments]
        if self.what == "-":
            _set_first_path("")
            return Loaded(
                compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True),
                BuiltinImporter,
                "<stdin>",
            )
        if _has_main(self.what):
            return self._load_from_within()
        _set_first_path(os.path.dirname(os.path.realpath(self.what)))
        path = _absolute(self.what)
        with open(path, "rb") as file:
            content = file.read()
        if content.startswith(importlib.util.MAGIC_NUMBER):
            code: CodeType = marshal.loads(content[16:])
            return Loaded(code, SourcelessFileLoader("__main__", path), path)
        return Loaded(
            compile(content, path, "exec", dont_inherit=True), SourceFileLoader("__main__", path), path
        )

    def _load_from_within(self) -> Loaded:
        folder = _absolute(self.what)
        if _is_first_path_ours():
            sys.path[0] = folder
        else:
            # Python does so even where it is to be safe from what lies around.
            sys.path.insert(0, folder)
        # It would be found as `__main__` where it is looked for.
        main = sys.modules.pop("__main__")
        try:
            spec = importlib.util.find_spec("__main__")
        finally:
            sys.modules["__main__"] = main
        loader: Any = spec.loader if spec is not None else None
        code = loader.get_code("__main__") if loader is not None else None
        if spec is None or code is None:
            raise SystemExit(f"{sys.executable}: can't find '__main__' module in {folder!r}")
        return Loaded(code, loader, spec.origin, spec, "", spec.cached)


@dataclass
class Module:
    """`python -m package.module`."""

    what: str
    arguments: list[str] = field(default_factory=list)
    option = "-m"

    @property
    def name(self) -> str:
        return self.what.removesuffix(".__main__").rpartition(".")[2]

    def check(self) -> None:
        """It is known only once the packages above it are imported."""

    def load(self) -> Loaded:
        sys.argv[:] = ["-m", *self.arguments]
        runs: Any = runpy
        try:
            # What `python -m` itself does.
            _, spec, code = runs._get_module_details(self.what, runs._Error)
        except runs._Error as error:
            raise SystemExit(f"{sys.executable}: {error}") from None
        sys.argv[0] = spec.origin
        return Loaded(code, spec.loader, spec.origin, spec, spec.parent, spec.cached)


@dataclass
class Code:
    """`python -c 'code'`."""

    what: str
    arguments: list[str] = field(default_factory=list)
    option = "-c"
    name = "python"

    def check(self) -> None:
        """It is there."""

    def load(self) -> Loaded:
        sys.argv[:] = ["-c", *self.arguments]
        _set_first_path("")
        return Loaded(compile(self.what, "<string>", "exec", dont_inherit=True), BuiltinImporter)


def run(program: Program) -> None:
    """Runs it to its end: returns, or raises `SystemExit`."""
    try:
        loaded = program.load()
        variables = sys.modules["__main__"].__dict__
        variables.clear()
        variables.update(loaded.variables())
        exec(loaded.code, variables)
    except SystemExit:
        raise
    except BaseException as error:
        _end_by(error)


def _end_by(error: BaseException) -> NoReturn:
    """Does what python does with an exception that nobody has caught; our frames are left out of it."""
    traceback = error.__traceback__
    while traceback is not None and _is_ours(traceback):
        traceback = traceback.tb_next
    error.__traceback__ = traceback
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(type(error), error, traceback)
    except SystemExit:
        raise
    except BaseException as failure:
        failure.__context__ = None
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(failure), failure, failure.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, traceback)
    if isinstance(error, KeyboardInterrupt):
        try:
            # An interpreter in which a text was interrupted that it executed dies of SIGINT in the end, once
            # it has done everything else, as shells want to see it.
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None
    raise SystemExit(1)


def _is_ours(traceback: TracebackType) -> bool:
    file = traceback.tb_frame.f_code.co_filename
    return file.startswith(_PACKAGE + os.sep) or file in ("<frozen runpy>", runpy.__file__)


def _has_main(path: str) -> bool:
    """Whether that is a folder or an archive, which the import system looks into."""
    if os.path.isdir(path):
        return True
    import pkgutil

    return pkgutil.get_importer(path) is not None


def _absolute(path: str) -> str:
    """As python itself makes them: nothing is resolved."""
    is_here = path == "." and sys.version_info >= (3, 11)
    return os.getcwd() if is_here else os.path.join(os.getcwd(), path)


def _is_first_path_ours() -> bool:
    """Whether python has put the current folder first, for `-m tidegauge`."""
    return not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated


def _set_first_path(path: str) -> None:
    if _is_first_path_ours():
        sys.path[0] = path
