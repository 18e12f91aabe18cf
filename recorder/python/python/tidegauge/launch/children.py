"""Has processes that this one starts record too: forked ones here, others by their environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from . import rule

#: A folder for the front of PYTHONPATH: interpreters that find it start by themselves.
BOOTSTRAP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bootstrap")
#: Its name where `tidegauge-record --torch` has made one.
_LAUNCHERS_NAME = "tidegauge-bootstrap"

_after_fork: Callable[[], None] | None = None
_is_registered = False


def environment(run: str, run_id: str | None) -> dict[str, str]:
    """By what interpreters that this process starts find the run; without an id they begin one."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.environ.get("PYTHONPATH") else []
    if BOOTSTRAP not in paths and not any(os.path.basename(path) == _LAUNCHERS_NAME for path in paths):
        paths.insert(0, BOOTSTRAP)
    found = {rule.RUN_VARIABLE: os.path.abspath(run), "PYTHONPATH": os.pathsep.join(paths)}
    return {**found, "TIDEGAUGE_RUN_ID": run_id} if run_id else found


def include(run: str, run_id: str | None, after_fork: Callable[[], None]) -> Callable[[], None]:
    """Children record into `run` from here on, forked ones by `after_fork`; returns what ends that."""
    global _after_fork, _is_registered
    variables = {**environment(run, run_id), rule.CHILDREN_VARIABLE: "1"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _after_fork = after_fork
    if not _is_registered:
        # There is no way to take it back.
        os.register_at_fork(after_in_child=_forked)
        _is_registered = True

    def end() -> None:
        global _after_fork
        _after_fork = None
        for name, value in before.items():
            if os.environ.get(name) != variables[name]:
                continue
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

    return end


def _forked() -> None:
    if _after_fork is not None and not _is_about_to_execute(sys._getframe()):
        _after_fork()


def _is_about_to_execute(frame: FrameType | None) -> bool:
    """Whether `subprocess` has forked, with a `preexec_fn`: this program is gone in a moment."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "subprocess" and frame.f_code.co_name == "_execute_child":
            return True
        frame = frame.f_back
    return False


def at_end_of_worker(call: Callable[[], object]) -> None:
    """Has `call` called when a forked worker of `multiprocessing` ends, which leaves out `atexit`."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        return

    def register(_: object) -> None:
        # The lowest priority: after what the worker itself has registered.
        util.Finalize(None, call, exitpriority=-1_000_000)

    # A worker forgets what its parent has registered, and then does this.
    util.register_after_fork(register, register)
