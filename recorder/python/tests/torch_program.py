"""Runs a training program in a process of its own, recorded, and reads what it has left with the analyzer.

Hooks and allocators are of a whole process, so no test installs any in its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conftest import clean_environment, program

TESTS = Path(__file__).resolve().parent
SECONDS = 300

PRELUDE = """
import copy, gc, io, json, os, sys, threading
import torch, tidegauge as tg
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
RUN = sys.argv[1]
torch.manual_seed(0)

def say(**facts):
    print("SAID " + json.dumps(facts), flush=True)

class Block(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))

class Net(nn.Module):
    def __init__(self, width=32, depth=2):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 1)
    def forward(self, x):
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

def data(samples=64, width=32):
    return TensorDataset(torch.randn(samples, width), torch.randn(samples, 1))
"""


@dataclass(frozen=True)
class Outcome:
    """A program that has ended, and its trace."""

    run: Path
    code: int
    said: list[dict[str, Any]]
    err: str

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the trace."""
        return self.table("query", sql)

    def table(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        """What a command of the analyzer says."""
        asked: list[Any] = [program("tidegauge"), command, self.run, *arguments, "--json"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    @cached_property
    def checkpoints(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM checkpoints ORDER BY rank, process, seq")

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return self.query(
            "SELECT e.*, s.name AS path FROM events e LEFT JOIN sites s"
            " ON e.site = s.site AND e.rank = s.rank AND e.process = s.process"
            " ORDER BY e.rank, e.process, e.seq"
        )

    @cached_property
    def process(self) -> dict[str, Any]:
        """Of the first process of rank 0."""
        return dict(json.loads((self.run / "_process" / "rank=0" / "process=0" / "process.json").read_text()))

    def spans(self, *names: str, thread: int | None = None) -> list[str]:
        """Beginnings and ends of phases in their order: `+forward`, `-forward`; all of them unless named."""
        sign = {"span_begin": "+", "span_end": "-"}
        return [
            sign[row["kind"]] + row["name"]
            for row in self.checkpoints
            if row["kind"] in sign
            and (not names or row["name"] in names)
            and (thread is None or row["thread"] == thread)
        ]

    def steps(self) -> list[tuple[int, float | None, int | None]]:
        """Steps that have ended: number, loss, batch size."""
        return [
            (row["step"], row["value"], row["batch_size"])
            for row in self.checkpoints
            if row["kind"] == "step_end"
        ]

    def blocks(self) -> list[dict[str, Any]]:
        """Every block: where it was allocated, its size, what it is for, `seq` of its beginning and its
        end.
        """
        alive: dict[tuple[int, int], dict[str, Any]] = {}
        found: list[dict[str, Any]] = []
        for event in self.events:
            key = (event["device"], event["address"])
            if event["kind"] in ("alloc", "baseline"):
                assert key not in alive, f"alive twice: {event}"
                alive[key] = {
                    "path": event["path"],
                    "bytes": event["size_bytes"],
                    "category": event["category"],
                    "begin": event["seq"],
                    "end": None,
                    "is_baseline": event["kind"] == "baseline",
                }
                found.append(alive[key])
            elif event["kind"] == "free":
                if key in alive:
                    alive.pop(key)["end"] = event["seq"]
            elif event["kind"] == "annotate" and key in alive:
                alive[key]["category"] = event["category"]
        return found

    def live_bytes(self, seq: int) -> int:
        """What is alive at a moment."""
        return sum(
            b["bytes"] for b in self.blocks() if b["begin"] <= seq and (b["end"] is None or b["end"] > seq)
        )

    def bytes_of(self, category: str, seq: int) -> int:
        """What is alive of a category at a moment."""
        return sum(
            block["bytes"]
            for block in self.blocks()
            if block["category"] == category
            and block["begin"] <= seq
            and (block["end"] is None or block["end"] > seq)
        )

    def marks(self, name: str) -> list[int]:
        """`seq` of each mark of a name."""
        return [row["seq"] for row in self.checkpoints if row["kind"] == "mark" and row["name"] == name]


def environment(**more: str) -> dict[str, str]:
    """Of a program that finds the package, these tests' modules, and nothing else of ours."""
    found = clean_environment(OMP_NUM_THREADS="2", **more)
    return {**found, "PYTHONPATH": f"{found['PYTHONPATH']}{os.pathsep}{TESTS}"}


def record(
    folder: Path,
    text: str,
    *,
    expect: int | None = 0,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    prelude: str = PRELUDE,
) -> Outcome:
    """Runs `PRELUDE` and `text`, whose only argument is the folder to record into. Asserts the exit code
    `expect`.
    """
    script, run = folder / "program.py", folder / "run"
    script.write_text(prelude + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, *command, str(script), str(run)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(**(env or {})),
        cwd=folder,
        check=False,
    )
    if expect is not None:
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    said = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID ")]
    return Outcome(run, done.returncode, said, done.stderr)


KILLED = -signal.SIGKILL
