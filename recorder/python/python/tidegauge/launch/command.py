"""`python -m tidegauge train.py`: recording around a program that knows nothing of it."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time

from .. import _native
from . import children, rule
from .autostart import attach_to_torch, include_children, own, say
from .options import OWN_ERROR, Options, parse
from .program import run
from .run_name import default_run


def main() -> None:
    """Records the program that the command line names; ends as that does."""
    options = parse(sys.argv[1:])
    options.program.check()
    wished = options.output or default_run(options.program.name)
    if rule.is_tool(options.program.option, options.program.what):
        _prepare_workers(options, wished)
    else:
        _record(options, wished)
    run(options.program)


def _record(options: Options, wished: str) -> None:
    from ..recording import start

    if not options.is_quiet:
        # Before what `start` registers, hence after it; that comes after all that the program registers.
        atexit.register(_say_where, os.getpid(), os.getcwd())
    try:
        start(
            wished,
            config=options.config,
            interval=options.interval,
            rank=options.rank,
            ring=options.ring,
            windows=options.windows,
            alerts=options.alerts,
        )
    except ValueError as error:
        say(str(error))
        raise SystemExit(OWN_ERROR) from None
    except _native.Error as error:
        # Whoever wants a night's training wants it more than its trace.
        say(f"NOT RECORDING: {error}")
        return
    own()
    if options.are_children_recorded:
        os.environ.update(options.variables())
        include_children()
    if options.is_torch_recorded:
        attach_to_torch()


def _prepare_workers(options: Options, wished: str) -> None:
    """For a launcher of ranks, which is no rank: its workers find the run in their environment."""
    run_id = os.environ.get("TIDEGAUGE_RUN_ID") or f"{time.time_ns():x}-{os.getpid():x}"
    os.environ.update(options.variables())
    os.environ.update(children.environment(wished, run_id))
    os.environ.pop(rule.OWNER_VARIABLE, None)
    if options.are_children_recorded:
        os.environ[rule.CHILDREN_VARIABLE] = "1"
    if not options.is_quiet:
        atexit.register(_say_where_workers, os.getpid(), os.path.abspath(wished), run_id)


def _say_where(pid: int, folder: str) -> None:
    path = _native.run_path() if os.getpid() == pid else None
    if path is not None:
        # As whoever started the program from `folder` would name it.
        path = path.removeprefix(os.path.join(folder, ""))
        say(f"trace {path}   (tidegauge summary {path})")


def _say_where_workers(pid: int, wished: str, run_id: str) -> None:
    """Workers that find another run's trace in the folder have taken the next."""
    number, run_folder = 1, wished
    while os.getpid() == pid:
        try:
            with open(os.path.join(run_folder, "run.json"), encoding="utf-8") as file:
                if json.load(file).get("run_id") == run_id:
                    say(f"trace {run_folder}   (tidegauge summary {run_folder})")
                    return
        except (OSError, ValueError):
            return
        number += 1
        run_folder = f"{wished}-{number}"
