"""Runs a program in a process of its own with the allocator's extension at hand, and reads what it recorded.

Allocators are of a whole process, so no test installs one in its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import clean_environment, query

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "python"
SECONDS = 300

PRELUDE = """
import gc, json, os, sys, threading
import torch
from recorder_sink import RecorderSink
from tidegauge.pytorch.extension import AllocatorExtension, ExtensionError

RUN = sys.argv[1]
sink = RecorderSink()
functions = sink.functions()
extension = AllocatorExtension()
extension.load()

def say(value):
    print(json.dumps(value), flush=True)

def live_storages():
    # Of every tensor that Python knows: address and bytes of its storage. By type, since proxies answer for
    # others.
    found = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            if storage.nbytes():
                found[storage.data_ptr()] = storage.nbytes()
    return found
"""

OTHERS = f"""
from pathlib import Path
from tidegauge.pytorch.compiled_library import CompiledLibrary, TorchBuild
import ctypes
TESTS = {str(TESTS)!r}
others = CompiledLibrary(TorchBuild.installed(), Path(TESTS) / "other_allocators.cpp").open()[1]
others.present.restype = ctypes.c_void_p
others.blocks_alive.restype = ctypes.c_int64
"""
"""Allocators of somebody else, from C++: what Python does not reach."""


@dataclass(frozen=True)
class Event:
    """A row of `events`, or a mark among them."""

    seq: int
    kind: str
    address: int | None = None
    size_bytes: int | None = None
    thread: int | None = None
    name: str | None = None


@dataclass
class Replay:
    """What was alive, by the plainest reading of the events, and what could not be."""

    alive: dict[int, int] = field(default_factory=dict)
    at_marks: dict[str, dict[int, int]] = field(default_factory=dict)
    alive_twice: list[Event] = field(default_factory=list)
    unknown_frees: list[Event] = field(default_factory=list)
    peak_bytes: int = 0


@dataclass(frozen=True)
class Ran:
    """How a program ended, what it said, and where its trace is."""

    run: Path
    status: int
    said: list[Any]
    stderr: str

    def events(self) -> list[Event]:
        rows = query(self.run, "SELECT seq, kind, address, size_bytes, thread FROM events WHERE device = -1")
        marks = query(self.run, "SELECT seq, kind, name FROM checkpoints WHERE kind = 'mark'")
        return sorted((Event(**row) for row in rows + marks), key=lambda event: event.seq)

    def replay(self) -> Replay:
        replay = Replay()
        total = 0
        for event in self.events():
            if event.kind == "mark":
                assert event.name is not None
                replay.at_marks[event.name] = dict(replay.alive)
            elif event.kind in ("alloc", "baseline"):
                assert event.address is not None and event.size_bytes is not None
                if event.address in replay.alive:
                    replay.alive_twice.append(event)
                replay.alive[event.address] = event.size_bytes
                total += event.size_bytes
                replay.peak_bytes = max(replay.peak_bytes, total)
            elif event.kind == "free":
                assert event.address is not None
                size = replay.alive.pop(event.address, None)
                if size is None:
                    replay.unknown_frees.append(event)
                total -= size or 0
        return replay


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of programs: the tests' folder to import from, and no GPU."""
    cleaned = clean_environment(OMP_NUM_THREADS="2", CUDA_VISIBLE_DEVICES="")
    return {**cleaned, "PYTHONPATH": f"{TESTS}{os.pathsep}{cleaned['PYTHONPATH']}", **(more or {})}


def run_program(
    program: str,
    folder: Path,
    arguments: list[str] | None = None,
    more: Mapping[str, str] | None = None,
    status: int = 0,
) -> Ran:
    """Runs `program` from a file, so that it can be spawned anew. Another status at its end fails the test."""
    script = folder / "program.py"
    script.write_text(PRELUDE + textwrap.dedent(program))
    run = folder / "run"
    command = [sys.executable, str(script), str(run), *(arguments or [])]
    done = subprocess.run(
        command,
        env=environment(more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
        check=False,
    )
    assert done.returncode == status, f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    said = [json.loads(line) for line in done.stdout.splitlines() if line[:1] in '{["0123456789tfn-']
    return Ran(run, done.returncode, said, done.stderr)
