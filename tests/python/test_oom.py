"""`tidegauge oom` on snapshots of programs that run out of memory, each of a cause that is planted.

The device is one of our own: what it has, what others hold of it and where every block lies is known, so every figure
has a second source.
"""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from caching_allocator import MIB, Allocator, holes, rows, tidegauge

GIB = 1 << 30


def frames(function: str) -> list[dict[str, Any]]:
    return [
        {"name": function, "filename": "/home/me/model.py", "line": 7},
        {"name": "main", "filename": "/home/me/train.py", "line": 70},
    ]


def step(allocator: Allocator, number: int, bytes_in_step: int, pieces: int = 4) -> None:
    """A step that allocates, and frees all of it."""
    with allocator.span(f"ProfilerStep#{number}"):
        with allocator.span("## forward ##"):
            allocator.frames = frames("attention")
            blocks = [allocator.alloc(bytes_in_step // pieces) for _ in range(pieces)]
        with allocator.span("## backward ##"):
            allocator.frames = frames("backward")
            for block in reversed(blocks):
                allocator.free(block)


def fragmentation() -> Allocator:
    allocator = Allocator(expandable=False, total_bytes=240 * MIB)
    allocator.frames = frames("load")
    blocks = [allocator.alloc(6 * MIB) for _ in range(30)]
    for block in blocks[1::3]:
        allocator.free(block)
    with allocator.span("ProfilerStep#0"), allocator.span("## forward ##"):
        allocator.frames = frames("attention")
        allocator.alloc(60 * MIB)
    return allocator


def growth() -> Allocator:
    allocator = Allocator(expandable=False, total_bytes=1200 * MIB)
    allocator.frames = frames("load")
    allocator.alloc(200 * MIB)
    for number in range(100):
        step(allocator, number, 400 * MIB)
        allocator.frames = frames("keep_the_loss")
        allocator.alloc(40 * MIB)
    return allocator


def spike() -> Allocator:
    allocator = Allocator(expandable=False, total_bytes=1200 * MIB)
    allocator.frames = frames("load")
    allocator.alloc(200 * MIB)
    for number in range(8):
        step(allocator, number, 400 * MIB)
    step(allocator, 8, 1600 * MIB)
    return allocator


def outside() -> Allocator:
    allocator = Allocator(expandable=False, total_bytes=16 * GIB, outside_bytes=10 * GIB)
    allocator.frames = frames("load")
    allocator.alloc(5 * GIB)
    for number in range(8):
        step(allocator, number, 900 * MIB)
    step(allocator, 8, 2 * GIB, pieces=1)
    return allocator


def too_big() -> Allocator:
    allocator = Allocator(expandable=False, total_bytes=1200 * MIB)
    allocator.frames = frames("load")
    allocator.alloc(900 * MIB)
    step(allocator, 0, 400 * MIB)
    return allocator


CAUSES: list[tuple[str, Callable[[], Allocator]]] = [
    ("fragmentation", fragmentation),
    ("growth", growth),
    ("batch_spike", spike),
    ("outside_the_allocator", outside),
    ("too_big", too_big),
]


def run(make: Callable[[], Allocator], monkeypatch: pytest.MonkeyPatch) -> Allocator:
    """The allocator as it is after its program has died."""
    made: list[Allocator] = []
    init = Allocator.__init__

    def remember(self: Allocator, *arguments: Any, **options: Any) -> None:
        made.append(self)
        init(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Allocator, "__init__", remember)
        with pytest.raises(MemoryError):
            make()
    return made[0]


def write(allocator: Allocator, folder: pathlib.Path) -> pathlib.Path:
    file = folder / "snapshot.pickle"
    file.write_bytes(pickle.dumps(allocator.snapshot()))
    return file


@pytest.mark.parametrize(("cause", "make"), CAUSES)
@pytest.mark.parametrize("knows_total", [True, False])
def test_a_planted_cause_is_found(
    cause: str,
    make: Callable[[], Allocator],
    knows_total: bool,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allocator = run(make, monkeypatch)
    assert allocator.total_bytes is not None
    file = write(allocator, tmp_path)
    total = ["--total", str(allocator.total_bytes)] if knows_total else []
    found = rows("oom", file, *total)
    assert len(found) == 1
    oom = found[0]
    entry = allocator.trace[-1]
    assert (oom["requested_bytes"], oom["device_free_bytes"]) == (entry["size"], entry["device_free"])
    blocks = [block for segment in allocator.segments.values() for block in segment["blocks"]]
    used = [block["requested_size"] for block in blocks if block["state"] == "active_allocated"]
    reserved = sum(segment["total_size"] for segment in allocator.segments.values())
    large = [segment for segment in allocator.segments.values() if segment["segment_type"] == "large"]
    free = [size for segment in large for size in holes(segment)]
    assert oom["allocated_bytes"] == sum(used) and oom["reserved_bytes"] == reserved
    assert oom["unused_bytes"] == reserved - sum(used)
    assert oom["usable_free_bytes"] == sum(free) and oom["largest_hole_bytes"] == max(free, default=0)
    assert oom["outside_bytes"] == (allocator.outside_bytes if knows_total else None)
    assert oom["phase"] == "forward" and oom["site"].startswith("attention")
    assert oom["gone_on"] is False
    if cause == "outside_the_allocator" and not knows_total:
        # A snapshot does not say how large the device is: that others hold it cannot be told.
        assert oom["cause"] == "batch_spike"
        return
    assert oom["cause"] == cause
    text = tidegauge("oom", file, *total).stdout
    assert "What would have helped" in text and "Who held memory" in text and "model.py:7" in text
    if cause == "fragmentation":
        assert "expandable_segments:True" in text and "expandable_segments:True" in oom["would_help"]
    if cause == "growth":
        # What it keeps also cuts up what is free.
        assert oom["contributing"] == "fragmentation"
        assert oom["growth_bytes_per_step"] == 40 * MIB
        assert "keep_the_loss" in text
    if cause == "batch_spike":
        assert oom["usual_peak_bytes"] == 600 * MIB and oom["demand_bytes"] > 1000 * MIB


def test_with_expandable_segments_that_program_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy for fragmentation is one: the same requests, segments that grow."""
    init = Allocator.__init__

    def expandable(self: Allocator, expandable: bool, **options: Any) -> None:
        init(self, True, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Allocator, "__init__", expandable)
        # No rest of 2 MiB at the end of each segment: what is asked for fits behind.
        allocator = fragmentation()
    assert not any(entry["action"] == "oom" for entry in allocator.trace)


def test_failures_that_are_caught_are_listed_after_the_last(tmp_path: pathlib.Path) -> None:
    allocator = Allocator(expandable=False, total_bytes=500 * MIB)
    for number, size in enumerate([600, 700, 300, 900]):
        with allocator.span(f"ProfilerStep#{number}"):
            try:
                allocator.free(allocator.alloc(size * MIB))
            except MemoryError:
                pass
            allocator.free(allocator.alloc(20 * MIB)) if number < 3 else None
    file = write(allocator, tmp_path)
    found = rows("oom", file)
    assert [(row["number"], row["requested_bytes"] // MIB, row["gone_on"]) for row in found] == [
        (1, 600, True),
        (2, 700, True),
        (3, 900, False),
    ]
    assert [row["step"] for row in found] == [0, 1, 3]
    text = tidegauge("oom", file).stdout
    assert text.index("900 MiB") < text.index("2 more, which the program went on from")


def test_the_first_of_several_ranks_to_run_out_is_named(tmp_path: pathlib.Path) -> None:
    for rank, steps in enumerate([6, 3, 9]):
        allocator = Allocator(expandable=False, total_bytes=1200 * MIB)
        try:
            for number in range(steps):
                step(allocator, number, 400 * MIB)
            step(allocator, steps, 1600 * MIB)
        except MemoryError:
            pass
        snapshot = allocator.snapshot()
        (tmp_path / f"rank{rank}_snapshot.pickle").write_bytes(pickle.dumps(snapshot))
    files = sorted(tmp_path.iterdir())
    assert [row["rank"] for row in rows("oom", *files)] == [0, 1, 2]
    text = tidegauge("oom", *files).stdout
    assert text.startswith("rank 1 process 0 ran out first")


def test_where_nothing_failed_it_says_so(tmp_path: pathlib.Path) -> None:
    allocator = Allocator(expandable=False)
    step(allocator, 0, 40 * MIB)
    done = tidegauge("oom", write(allocator, tmp_path))
    assert done.returncode == 0 and done.stdout.startswith("no allocation failed")
    assert rows("oom", write(allocator, tmp_path)) == []
