"""Starts recording at the import of the package if the environment asks for it. Never raises."""

from __future__ import annotations

import json
import os
import sys

from .. import _native
from . import children, rule
from .post_import import when_imported

#: `1`: torch is attached to when the program imports it.
TORCH_VARIABLE = "TIDEGAUGE_TORCH"
#: A JSON object, the run's configuration.
CONFIG_VARIABLE = "TIDEGAUGE_CONFIG"


def start_if_asked() -> None:
    """Starts recording into the folder that `TIDEGAUGE` names, if this process starts by itself."""
    try:
        reason = rule.reason_not_to_record(os.environ, sys.orig_argv, os.getpid())
        if reason is None and not _native.is_on():
            _start()
        elif os.environ.get(rule.CHILDREN_VARIABLE) == "1" and rule.is_fork_server(sys.orig_argv):
            # Nothing is recorded here; a process that it forks comes from no interpreter that is started.
            children.include(os.environ[rule.RUN_VARIABLE], None, _start_in_forked)
    except Exception as error:
        say(f"NOT RECORDING: {error}")


def _start() -> None:
    from ..recording import start

    # Who has executed another program in its place goes on with the run that it had begun.
    first = rule.owner(os.environ)
    joins = first is not None and first[0] == os.getpid()
    config = json.loads(os.environ.get(CONFIG_VARIABLE) or "{}")
    run = start(os.environ[rule.RUN_VARIABLE], join=joins, config=config)
    # Wherever the program goes, and whatever folder was taken.
    os.environ[rule.RUN_VARIABLE] = os.path.abspath(run)
    own()
    if os.environ.get(rule.CHILDREN_VARIABLE) == "1":
        include_children()
    if os.environ.get(TORCH_VARIABLE) == "1":
        attach_to_torch()


def own() -> None:
    """Says that this process records of itself: its children, which inherit that, do not."""
    from ..recording import is_environments

    is_environments()
    pid = os.getpid()
    os.environ[rule.OWNER_VARIABLE] = f"{pid}:{rule.rank(os.environ)}:{rule.start_of(pid)}"


def include_children() -> None:
    """Has processes that this one starts record as further ones of the run, until recording stops."""
    from ..recording import at_stop

    run = _native.run_path()
    if run is not None:
        at_stop(children.include(run, _native.run_id(), _start_in_forked))


def _start_in_forked() -> None:
    from ..recording import start

    try:
        run = start(os.environ[rule.RUN_VARIABLE], join=True)
        os.environ[rule.RUN_VARIABLE] = os.path.abspath(run)
        own()
        children.at_end_of_worker(_stop)
    except Exception as error:
        say(f"NOT RECORDING process {os.getpid()}: {error}")


def _stop() -> None:
    from ..recording import stop

    try:
        stop()
    except Exception as error:
        say(str(error))


def attach_to_torch() -> None:
    """Records what torch does from the moment that the program imports it; without torch nothing happens."""
    when_imported("torch", _attach)


def _attach() -> None:
    if not _native.is_on():
        return
    try:
        from ..pytorch import attach_when_imported

        attach_when_imported()
    except Exception as error:
        line = f"torch is not recorded: {error}"
        _native.note(line)
        say(line)


def say(line: str) -> None:
    """A line on standard error, if there is one."""
    try:
        print(f"tidegauge: {line}", file=sys.stderr)
    except (OSError, ValueError):
        pass
