"""Starting and stopping: from code, from a configuration, and what has to happen when recording ends.

What the environment asks for is in `launch.autostart`.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _native, steps
from .configuration import flat, items, lookup, switch

#: Settings that a configuration may have besides `run` and `enabled`: arguments of `start`.
_SETTINGS = frozenset(
    ["alerts", "children", "counters", "interval", "join", "journal_cap_bytes", "rank", "ring", "windows"]
)
_ENABLE_KEY = "enable_memory_monitoring"

#: What is to be undone when recording ends, the newest first.
_at_stop: list[Callable[[], object]] = []

#: Whether what is recorded now was asked for by the environment.
_is_environments = False


def start(
    run: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | Any = None,
    interval: float | None = None,
    rank: int | None = None,
    join: bool = False,
    ring: int | None = None,
    windows: tuple[int, int] | None = None,
    alerts: str | Iterable[str] = (),
    counters: str = "fresh",
    journal_cap_bytes: int | None = None,
    on_alert: Callable[[dict[str, Any]], object] | None = None,
    environment: bool = True,
    children: bool | None = None,
) -> str:
    """Starts recording into the folder `run`; returns the folder, which is another if that one holds a trace already.

    config: what analyses may refer to (batch size, precision, a name); nested mappings become `outer.inner`.
    interval: seconds between samples of the process's memory, 0.1 unless the environment says otherwise.
    rank: in a distributed job; by default what torchrun, mpirun or Slurm say.
    join: records as a further process of the trace that is in the folder, instead of taking another folder.
    ring: keeps only the newest so many records; windows: `(first, every)`, only the allocations of the first steps of
    each epoch and of every so manieth. alerts: expressions as in FORMAT.md; on_alert is told of each as a dict of
    `rule`, `value` and `line`, on a thread of the recorder's.
    counters: "fresh" reads the process's memory at each checkpoint, about a microsecond; "sampled" leaves that to the
    sampler.
    environment: whether TIDEGAUGE_INTERVAL and its like count, where the arguments say nothing.
    children: whether processes that this one starts record too, as further processes of the run.

    If recording is on because the environment asked for it, that goes on: `config` is added to it, and the rest
    counts for nothing, since whoever set the environment decides.

    Raises `Error` if the folder cannot be used or recording is on already, `ValueError` for a wrong argument.
    """
    told = flat(config)
    if _native.is_on() and _is_environments:
        _add_config(told)
        return str(_native.run_path())
    if windows is not None:
        first, every = windows
        windows = (first, every)
    rules = [alerts] if isinstance(alerts, str) else list(alerts)
    path = _native.start(
        os.fspath(run),
        config=json.dumps(told),
        interval=interval,
        rank=rank,
        join=join,
        ring=ring,
        windows=windows,
        alerts=rules,
        counters=counters,
        journal_cap_bytes=journal_cap_bytes,
        on_alert=on_alert,
        environment=environment,
    )
    _after_start(children)
    return path


def _after_start(children: bool | None) -> None:
    """What has to hold from now on, however recording was started."""
    global _is_environments
    _is_environments = False
    steps.begin_anew()
    _native.versions(json.dumps({"python": sys.version.split()[0], "tidegauge": _native.__version__}))
    atexit.unregister(_stop_at_exit)
    atexit.register(_stop_at_exit)
    if _is_forked_worker():
        # It leaves out `atexit`.
        sys.modules["multiprocessing.util"].Finalize(None, _stop_at_exit, exitpriority=-1_000_000)
    if children:
        from .launch.autostart import include_children

        include_children()


def _is_forked_worker() -> bool:
    """Whether this process is a worker of `multiprocessing` that was forked."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    return util is not None and process is not None and process.parent_process() is not None


def is_environments() -> None:
    """What is recorded now was asked for by the environment: `start` in the program's own code joins it."""
    global _is_environments
    _is_environments = True


def start_from_config(config: Any, run: str | os.PathLike[str] | None = None) -> str | None:
    """Starts recording if a trainer's configuration says so; returns the folder, or None where it does not.

    Looks for `enable_memory_monitoring` (as in `trainer_params: {enable_memory_monitoring: true}`, or at the top) and
    for a section `tidegauge` of our own: `run`, and the arguments of `start`; `tidegauge: runs/a` is short for its
    `run`. `enabled: false` in it turns recording off. Without a folder in either place, `runs/tidegauge` is taken.
    The rest of the configuration becomes the run's. It may be a mapping, an OmegaConf node, a namespace.

    Raises `ValueError` for settings that there are none of or that cannot be meant, `Error` as `start` does.
    """
    own = lookup(config, "tidegauge")
    settings: dict[str, Any] = {}
    if isinstance(own, (str, os.PathLike)):
        settings = {"run": own}
    elif isinstance(own, bool):
        settings = {"enabled": own}
    elif own is not None:
        settings = dict(items(own))
    trainer = lookup(config, "trainer_params")
    trainer = config if trainer is None else trainer
    enabled = settings.pop("enabled", None)
    if enabled is None:
        is_asked = own is not None or switch(lookup(trainer, _ENABLE_KEY), _ENABLE_KEY)
    else:
        is_asked = switch(enabled, "tidegauge.enabled")
    if not is_asked:
        return None
    folder = run or settings.pop("run", None) or os.path.join("runs", "tidegauge")
    settings.pop("run", None)
    unknown = sorted(set(settings) - _SETTINGS)
    if unknown:
        known = ", ".join(sorted(_SETTINGS | {"enabled", "run"}))
        raise ValueError(f"tidegauge: no such setting: {', '.join(unknown)}; there are {known}")
    if isinstance(settings.get("interval"), str):
        settings["interval"] = _seconds(settings["interval"])
    rest = {key: value for key, value in items(config) if key != "tidegauge"}
    return start(folder, config=rest, **settings)


def _seconds(text: str) -> float:
    """A time as the environment has it, `100ms` or `1s`."""
    for unit, scale in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("", 1.0)):
        try:
            return float(text.strip().removesuffix(unit)) * scale
        except ValueError:
            continue
    raise ValueError(f"tidegauge: interval must be a time as 100ms or 0.1, not {text!r}")


def add_config(**config: Any) -> None:
    """Adds to the configuration of the run, or changes it; numbers become rows of `checkpoints` too."""
    if _native.is_on():
        _add_config(flat(config))


def _add_config(config: dict[str, Any]) -> None:
    """While training: what cannot be written is a note."""
    try:
        _native.config(json.dumps(config))
    except _native.Error as error:
        _native.note(f"the configuration could not be added to: {error}")


def at_stop(undo: Callable[[], object]) -> None:
    """Has `undo` called when recording ends, before it does: what was hooked into the program is taken out."""
    _at_stop.append(undo)


def stop() -> str | None:
    """Stops recording: hooks are taken out, everything is sealed; returns the folder, or None if nothing was on.

    Raises `Error` if not everything could be written; what was recorded is then still in the journal, and
    `tidegauge-record recover` seals it.
    """
    while _at_stop:
        undo = _at_stop.pop()
        try:
            undo()
        except Exception as error:  # what cannot be undone must not keep the trace from being closed
            _native.note(f"a hook could not be taken out: {error!r}")
    return _native.stop()


def _stop_at_exit() -> None:
    try:
        stop()
    except Exception as error:
        print(f"tidegauge: {error}", file=sys.stderr)
