"""The command line of `python -m tidegauge`: our options, and behind them one as `python` takes it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .program import Code, Module, Program, Script

#: What an error of our own ends with, as for `tidegauge-record`: no program's code by custom.
OWN_ERROR = 125

_UNITS = {"us": 1e-6, "ms": 1e-3, "min": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0}
#: The shortest interval: below it the sampler would be what it measures.
_MIN_INTERVAL_SECONDS = 1e-3


@dataclass(frozen=True)
class Options:
    """What to record and how; None where nothing was said."""

    program: Program
    output: str | None = None
    interval: float | None = None
    ring: int | None = None
    windows: tuple[int, int] | None = None
    alerts: list[str] = field(default_factory=list)
    rank: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    is_torch_recorded: bool = True
    are_children_recorded: bool = False
    is_quiet: bool = False

    def variables(self) -> dict[str, str]:
        """The same for processes that start by themselves, in the words of their environment."""
        said = {
            "TIDEGAUGE_INTERVAL": None if self.interval is None else f"{round(self.interval * 1e6)}us",
            "TIDEGAUGE_RING": None if self.ring is None else str(self.ring),
            "TIDEGAUGE_WINDOWS": None if self.windows is None else f"{self.windows[0]}/{self.windows[1]}",
            "TIDEGAUGE_ALERTS": ";".join(self.alerts) or None,
            "TIDEGAUGE_CONFIG": json.dumps(self.config) if self.config else None,
            "TIDEGAUGE_TORCH": "1" if self.is_torch_recorded else None,
        }
        return {name: value for name, value in said.items() if value is not None}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage()
        self.exit(OWN_ERROR, f"tidegauge: {message}\n")

    def print_usage(self, file: Any = None) -> None:
        import sys

        super().print_usage(file or sys.stderr)


def parse(arguments: list[str]) -> Options:
    """The options of these arguments; ends the process where they are none."""
    parser = _parser()
    own, program = _split(parser, arguments)
    found = parser.parse_args(own)
    if program is None:
        parser.error("there is no program to record: SCRIPT, -m MODULE or -c CODE")
    return Options(
        program=program,
        output=found.output,
        interval=found.interval,
        ring=found.ring,
        windows=found.windows,
        alerts=found.alert,
        rank=found.rank,
        config=dict(found.config),
        is_torch_recorded=not found.no_torch,
        are_children_recorded=found.children,
        is_quiet=found.quiet,
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m tidegauge",
        usage="python -m tidegauge [OPTIONS] SCRIPT | -m MODULE | -c CODE [ARGUMENTS]",
        description="Records what a Python program does to memory. It runs in this process, as under python.",
        epilog="Returns what the program returns; 125 for an error of the command line.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    default = "by default the one that TIDEGAUGE names, else tidegauge-runs/NAME-TIME"
    add("-o", "--output", metavar="RUN", help=f"the trace folder; {default}")
    add("--interval", metavar="TIME", type=_seconds, help="how often to sample, 1ms or more (100ms)")
    add("--ring", metavar="N", type=_count, help="keep the newest N records only")
    add("--windows", metavar="FIRST/EVERY", type=_windows, help="keep the allocations of chosen steps only")
    add(
        "--alert",
        metavar="EXPR",
        action="append",
        default=[],
        help="say when a threshold is crossed; several",
    )
    add("--rank", metavar="N", type=_number, help="the rank, where the environment does not say it")
    add("--config", metavar="KEY=VALUE", type=_pair, action="append", default=[], help="of the run; several")
    add("--no-torch", action="store_true", help="leave torch alone")
    add("--children", action="store_true", help="record processes that the program starts, too")
    add("-q", "--quiet", action="store_true", help="print nothing at the end")
    return parser


def _split(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], Program | None]:
    """Our own arguments, and the program: nothing of what is behind it is looked at."""
    valued = {name for action in parser._actions if action.nargs != 0 for name in action.option_strings}
    place = 0
    while place < len(arguments):
        word, rest = arguments[place], arguments[place + 1 :]
        own = arguments[:place]
        if word == "--":
            return own, Script(rest[0], rest[1:]) if rest else None
        if word[:2] in ("-m", "-c"):
            # As python has it, what belongs to them may follow at once: -mpackage.
            what = [word[2:], *rest] if word[2:] else rest
            kind = Module if word[:2] == "-m" else Code
            return own, kind(what[0], what[1:]) if what else None
        if word == "-" or not word.startswith("-"):
            return own, Script(word, rest)
        place += 2 if word in valued else 1
    return arguments, None


def _seconds(text: str) -> float:
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * _UNITS[unit]
    except (KeyError, ValueError):
        seconds = -1.0
    if not _MIN_INTERVAL_SECONDS <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of 1ms or more: 100ms, 1s, 5min")
    return seconds


def _count(text: str) -> int:
    number = _number(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it must be above 0")
    return number


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    # What the recorder takes for a rank, and more than any ring has records.
    if int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is too large")
    return int(text)


def _windows(text: str) -> tuple[int, int]:
    first, _, every = text.partition("/")
    if not (first.isdecimal() and every.isdecimal()) or int(first) == int(every) == 0:
        raise argparse.ArgumentTypeError(
            "two numbers, as in 10/100: the first 10 steps, and every 100th after"
        )
    return int(first), int(every)


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, _value(value)


def _value(text: str) -> Any:
    """A number, true, false or null as what they are; everything else as it is written."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)
