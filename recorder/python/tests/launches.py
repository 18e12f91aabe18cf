"""Running programs in ways that record them, and what their traces say of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import tidegauge
from conftest import clean_environment

#: The folder that the package is found in, that of the sources or where it is installed.
LIBRARY = Path(tidegauge.__file__).resolve().parents[1]


def python(
    *arguments: str | Path, cwd: Path | None = None, check: bool = True, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter with these arguments."""
    words = [sys.executable, *map(str, arguments)]
    return command(*words, cwd=cwd, check=check, stdin=stdin, **environment)


def command(
    *words: str, cwd: Path | None = None, check: bool = True, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a clean environment; its output is in the failure, if it fails."""
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        input=stdin,
        env=clean_environment(**environment),
    )
    if check:
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def processes(run: Path) -> list[dict[str, Any]]:
    """What each recorder of a run says of its process, in the order of ranks and processes."""
    found = [json.loads(path.read_text()) for path in run.glob("_process/*/*/process.json")]
    return sorted(found, key=lambda process: (process["rank"], process["process"]))


def pids(run: Path) -> list[int]:
    """Processes that have recorded themselves into a run: none of those who watch another."""
    return [process["pid"] for process in processes(run) if process.get("watched") is None]


def write(path: Path, text: str) -> Path:
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def is_running(pid: int) -> bool:
    """Whether there is a process `pid` that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
