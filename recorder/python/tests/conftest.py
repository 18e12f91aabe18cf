"""What the tests of the Python package share: where programs are, and scripts in processes of their own."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Where the package lies, unless an installed one is to be tested.
IS_INSTALLED = os.environ.get("TIDEGAUGE_PACKAGE") == "installed"
PACKAGE = [] if IS_INSTALLED else [str(ROOT / "recorder" / "python" / "python")]


def binaries() -> Path:
    """The folder of the built programs."""
    target = os.environ.get("CARGO_TARGET_DIR")
    folder = os.environ.get("TIDEGAUGE_BINARIES") or (
        f"{target}/debug" if target else ROOT / "target" / "debug"
    )
    return (ROOT / folder).resolve()


def program(name: str) -> str:
    """The path of a built program, `tidegauge` or `tidegauge-record`."""
    path = binaries() / name
    assert path.exists(), f"{path} is not there: cargo build --workspace --all-targets"
    return str(path)


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would start or steer a recorder, with the package to be found, and with `more`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("TIDEGAUGE") or key == "TIDEGAUGE_CACHE"  # of what is compiled against torch
    }
    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        kept.pop(key, None)
    paths = [*PACKAGE, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **more}


def run_python(
    script: str, *arguments: str, timeout: float = 300, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script's text in a process of its own; its output is in the failure, if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean_environment(**environment),
    )
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def query(run: Path | str, sql: str) -> list[dict[str, Any]]:
    """Rows of `tidegauge query`."""
    done = subprocess.run(
        [program("tidegauge"), "query", str(run), sql, "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def summary(run: Path | str) -> dict[str, Any]:
    """The object of `tidegauge summary --json`."""
    done = subprocess.run(
        [program("tidegauge"), "summary", str(run), "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _large_blocks_come_from_the_system() -> None:
    """Has malloc take each large block from the system and give it back, as it does in a young process.

    It adapts to what is freed: after tests that train, the heap has holes of tens of MB, and resident memory
    follows neither what a later test allocates nor what it frees. Other libraries than glibc have no such call.
    """
    threshold_option, threshold_bytes = -3, 1 << 20
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(threshold_option, threshold_bytes)


_large_blocks_come_from_the_system()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder to record into, which is not there yet."""
    return tmp_path / "run"


Query = Callable[[Path | str, str], list[dict[str, Any]]]
