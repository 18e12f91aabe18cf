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

from . import _native

#: Keys of a configuration that say how to record, with the argument of `start` that they are.
_OWN_KEYS = {
    "interval": "interval",
    "ring": "ring",
    "windows": "windows",
    "alerts": "alerts",
    "counters": "counters",
    "rank": "rank",
}

#: What is to be undone when recording ends, the newest first.
_at_stop: list[Callable[[], object]] = []


def start(
    run: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    interval: float | None = None,
    rank: int | None = None,
    join: bool = False,
    ring: int | None = None,
    windows: tuple[int, int] | None = None,
    alerts: Iterable[str] = (),
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
    told = json.dumps(flat(config or {}))
    if _native.is_on() and started_by_environment():
        _native.config(told)
        return str(_native.run_path())
    if windows is not None:
        first, every = windows
        windows = (first, every)
    path = _native.start(
        os.fspath(run),
        config=told,
        interval=interval,
        rank=rank,
        join=join,
        ring=ring,
        windows=windows,
        alerts=list(alerts),
        counters=counters,
        journal_cap_bytes=journal_cap_bytes,
        on_alert=on_alert,
        environment=environment,
    )
    _after_start(children)
    return path


def _after_start(children: bool | None) -> None:
    """What has to hold from now on, however recording was started."""
    _native.versions(json.dumps({"python": sys.version.split()[0], "tidegauge": _native.__version__}))
    atexit.unregister(_stop_at_exit)
    atexit.register(_stop_at_exit)
    if children:
        from .launch.autostart import include_children

        include_children()


def start_from_config(config: Mapping[str, Any], run: str | os.PathLike[str] | None = None) -> str | None:
    """Starts recording if a trainer's configuration says so; returns the folder, or None where it does not.

    Looks for `enable_memory_monitoring` (as in `trainer_params: {enable_memory_monitoring: true}`, or at the top) and
    for a mapping `tidegauge` of our own: `run`, and the arguments of `start`; `tidegauge: runs/a` is short for its
    `run`. `enabled: false` in it turns recording off. Without a folder in either place, `runs/tidegauge` is taken.
    The rest of the configuration becomes the run's.

    A mapping is anything with `keys` and `[]`: a dict, an OmegaConf node.
    """
    own = config["tidegauge"] if "tidegauge" in config else None
    settings: dict[str, Any] = {}
    if isinstance(own, (str, os.PathLike)):
        settings = {"run": own}
    elif isinstance(own, bool):
        settings = {"enabled": own}
    elif own is not None:
        settings = dict(own)
    trainer = config["trainer_params"] if "trainer_params" in config else config
    asked = settings.pop("enabled", bool(own is not None or _get(trainer, "enable_memory_monitoring")))
    if not asked:
        return None
    unknown = sorted(set(settings) - set(_OWN_KEYS) - {"run"})
    if unknown:
        known = ", ".join(sorted([*_OWN_KEYS, "enabled", "run"]))
        raise ValueError(f"tidegauge: no such setting: {', '.join(map(str, unknown))}; there are {known}")
    folder = run or settings.pop("run", None) or os.path.join("runs", "tidegauge")
    settings.pop("run", None)
    rest = {key: config[key] for key in config.keys() if key != "tidegauge"}
    return start(folder, config=rest, **settings)


def _get(mapping: Any, key: str) -> Any:
    return mapping[key] if key in mapping else None


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration without nesting, of what JSON can hold; everything else as its text."""
    found: dict[str, Any] = {}
    for key in config.keys():
        value, name = config[key], f"{prefix}{key}"
        if hasattr(value, "keys") and hasattr(value, "__getitem__"):
            found.update(flat(value, f"{name}."))
        elif isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
            found[name] = float(value)
        elif value is None or isinstance(value, (bool, str)):
            found[name] = value
        elif isinstance(value, int) and -(2**63) <= value < 2**64:
            found[name] = int(value)
        else:
            found[name] = str(value)
    return found


def add_config(**config: Any) -> None:
    """Adds to the configuration of the run, or changes it; numbers become rows of `checkpoints` too."""
    if _native.is_on():
        _native.config(json.dumps(flat(config)))


def at_stop(undo: Callable[[], object]) -> None:
    """Has `undo` called when recording ends, before it does: what was hooked into the program is taken out."""
    _at_stop.append(undo)


def started_by_environment() -> bool:
    """Whether this process records since its environment asked for it."""
    return os.environ.get("TIDEGAUGE_OWNER", "").split(":")[0] == str(os.getpid())


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
