"""`tidegauge fragmentation` and `tidegauge oom` against plain computations over what `pickle.load` gives.

At the end a snapshot lists every segment with its blocks: free memory, its largest piece and what rounding adds can be
summed up there. The command gets there from the history, by the allocator's rules, so the two have to agree exactly.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import random
import subprocess
from collections import defaultdict
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CORPUS = pathlib.Path(os.environ.get("TIDEGAUGE_CORPUS") or ROOT.parent / "shared" / "corpus")
MIB = 1 << 20
Snapshot = Any


def tidegauge(*arguments: object) -> subprocess.CompletedProcess[str]:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [str(target / "debug" / "tidegauge"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def rows(*arguments: object) -> list[dict[str, Any]]:
    done = tidegauge(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def holes(segment: dict[str, Any]) -> list[int]:
    """Sizes of the stretches of free memory; inactive blocks side by side are one."""
    found: list[int] = []
    last = None
    for block in segment["blocks"]:
        if block["state"] == "inactive":
            if last == "inactive":
                found[-1] += block["size"]
            else:
                found.append(block["size"])
        last = block["state"]
    return found


def is_used(segment: dict[str, Any]) -> bool:
    return any(block["state"] != "inactive" for block in segment["blocks"])


def at_end(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """What the segments of one device come to, from their definitions."""
    blocks = [block for segment in segments for block in segment["blocks"] if block["state"] != "inactive"]
    free = [size for segment in segments for size in holes(segment)]
    found = {
        "reserved_bytes": sum(segment["total_size"] for segment in segments),
        "allocated_bytes": sum(b["requested_size"] for b in blocks if b["state"] == "active_allocated"),
        "active_bytes": sum(block["requested_size"] for block in blocks),
        "rounding_bytes": sum(block["size"] - block["requested_size"] for block in blocks),
        "holes": len(free),
        "largest_hole_bytes": max(free, default=0),
        "free_bytes": sum(free),
        "segments": len(segments),
        "blocks": len(blocks),
    }
    if not any(segment.get("is_expandable") for segment in segments):
        found["split_bytes"] = sum(sum(holes(segment)) for segment in segments if is_used(segment))
        found["cached_bytes"] = sum(segment["total_size"] for segment in segments if not is_used(segment))
    return found


def by_pool(segments: list[dict[str, Any]]) -> dict[tuple[str, int, str], dict[str, int]]:
    pools: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for segment in segments:
        identity = segment.get("segment_pool_id", (0, 0))
        name = "default" if tuple(identity) == (0, 0) else f"{identity[0]}.{identity[1]}"
        pools[name, segment["stream"], segment["segment_type"]].append(segment)
    keys = ("reserved_bytes", "largest_hole_bytes", "holes", "free_bytes", "segments", "rounding_bytes")
    return {pool: {key: at_end(of_pool)[key] for key in keys} for pool, of_pool in pools.items()}


def check_end(file: pathlib.Path, snapshot: Snapshot) -> None:
    """The command's end is the file's, in all, pool by pool and block by block."""
    of_device: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for segment in snapshot["segments"]:
        of_device[segment["device"]].append(segment)
    ends = {row["device"]: row for row in rows("fragmentation", file) if row["moment"] == "end"}
    assert ends.keys() == of_device.keys()
    pool_rows = [row for row in rows("fragmentation", file, "--pools") if row["moment"] == "end"]
    mapped = rows("fragmentation", file, "--map", "end")
    for device, segments in of_device.items():
        end = ends[device]
        end["free_bytes"] = end["split_bytes"] + end["cached_bytes"]
        expected = at_end(segments)
        assert {key: end[key] for key in expected} == expected, (file.name, device)
        assert end["rounding_basis"] == "measured"
        assert end["unused_bytes"] == expected["reserved_bytes"] - expected["allocated_bytes"]
        pools = {
            (row["pool"], row["stream"], row["size_class"]): row for row in pool_rows if row["device"] == device
        }
        expected_pools = by_pool(segments)
        found_pools = {
            pool: {key: row[key] for key in next(iter(expected_pools.values()))} for pool, row in pools.items()
        }
        # What rounding adds follows from the allocator's rules here, and has to be what the file says.
        assert found_pools == expected_pools, (file.name, device)
        states = {"active_allocated": "allocated", "active_pending_free": "pending", "inactive": "free"}
        expected_blocks = set()
        for segment in segments:
            start, length = segment["address"], 0
            merged: list[list[Any]] = []
            for block in segment["blocks"]:
                state = states[block["state"]]
                if merged and merged[-1][2] == state == "free":
                    merged[-1][1] += block["size"]
                else:
                    requested = None if state == "free" else block["requested_size"]
                    merged.append([length, block["size"], state, requested])
                length += block["size"]
            expected_blocks |= {(hex(start), *block) for block in map(tuple, merged)}
        keys = ("segment", "offset_bytes", "size_bytes", "state", "requested_bytes")
        found = {tuple(row[key] for key in keys) for row in mapped if row["device"] == device}
        assert found == expected_blocks, (file.name, device)


def test_at_the_end_every_snapshot_of_the_corpus_is_mapped_as_it_is() -> None:
    if not CORPUS.exists():
        pytest.skip(f"SKIPPED: there is no corpus at {CORPUS}; TIDEGAUGE_CORPUS names another folder")
    for file in sorted((CORPUS / "snapshots").iterdir()):
        with file.open("rb") as opened:
            check_end(file, pickle.load(opened))


class Allocator:
    """A caching allocator as torch's is, in a few lines: best fit, splits, rounding, expandable segments."""

    def __init__(self, expandable: bool) -> None:
        self.expandable = expandable
        self.segments: dict[int, dict[str, Any]] = {}
        self.trace: list[dict[str, Any]] = []
        self.next_address = 0x7F0000000000

    def add(self, action: str, address: int, size: int, stream: int) -> None:
        entry = {"addr": address, "size": size, "stream": stream, "time_us": 10**15 + 10 * len(self.trace)}
        self.trace.append({"action": action, "frames": [], **entry})

    def _free_blocks(self, stream: int, kind: str) -> list[tuple[int, int, int]]:
        of_pool = (s for s in self.segments.values() if (s["stream"], s["segment_type"]) == (stream, kind))
        return [
            (block["size"], segment["address"], number)
            for segment in of_pool
            for number, block in enumerate(segment["blocks"])
            if block["state"] == "inactive"
        ]

    def _grow(self, size: int, stream: int, kind: str) -> None:
        page = 2 * MIB if kind == "small" else 20 * MIB
        if self.expandable:
            of_pool = [s for s in self.segments.values() if (s["stream"], s["segment_type"]) == (stream, kind)]
            if of_pool:
                segment = max(of_pool, key=lambda of: of["address"])
                end = segment["address"] + segment["total_size"]
                last = segment["blocks"][-1]
                missing = size - (last["size"] if last["state"] == "inactive" else 0)
                grown = -(-missing // page) * page
                self.add("segment_map", end, grown, stream)
                segment["total_size"] += grown
                if last["state"] == "inactive":
                    last["size"] += grown
                else:
                    block = {"address": end, "size": grown, "requested_size": 0, "state": "inactive"}
                    segment["blocks"].append(block)
                return
            total, distance = -(-size // page) * page, 1 << 34
        elif kind == "small":
            total, distance = 2 * MIB, 2 * MIB
        else:
            total = 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            distance = total
        address = self.next_address
        # Often without a gap: neighbours that are not one.
        self.next_address += distance
        self.add("segment_map" if self.expandable else "segment_alloc", address, total, stream)
        block = {"address": address, "size": total, "requested_size": 0, "state": "inactive"}
        self.segments[address] = {
            "device": 0,
            "address": address,
            "total_size": total,
            "stream": stream,
            "segment_type": kind,
            "segment_pool_id": (0, 0),
            "is_expandable": self.expandable,
            "blocks": [block],
        }

    def alloc(self, requested: int, stream: int = 0) -> int:
        size = max(512, -(-requested // 512) * 512)
        kind = "small" if size <= MIB else "large"
        fitting = [free for free in self._free_blocks(stream, kind) if free[0] >= size]
        if not fitting:
            self._grow(size, stream, kind)
            fitting = [free for free in self._free_blocks(stream, kind) if free[0] >= size]
        _, start, number = min(fitting)
        blocks = self.segments[start]["blocks"]
        block = blocks[number]
        rest = block["size"] - size
        if rest >= 512 if kind == "small" or self.expandable else rest > MIB:
            free = {"address": block["address"] + size, "size": rest, "requested_size": 0, "state": "inactive"}
            blocks.insert(number + 1, free)
            block["size"] = size
        block.update(requested_size=requested, state="active_allocated", frames=[])
        self.add("alloc", block["address"], requested, stream)
        return int(block["address"])

    def _find(self, address: int) -> tuple[dict[str, Any], int]:
        for segment in self.segments.values():
            for number, block in enumerate(segment["blocks"]):
                if block["address"] == address:
                    return segment, number
        raise KeyError(address)

    def request_free(self, address: int) -> None:
        segment, number = self._find(address)
        block = segment["blocks"][number]
        block["state"] = "active_pending_free"
        self.add("free_requested", address, block["requested_size"], segment["stream"])

    def complete_free(self, address: int) -> None:
        segment, number = self._find(address)
        blocks = segment["blocks"]
        self.add("free_completed", address, blocks[number]["requested_size"], segment["stream"])
        blocks[number].update(state="inactive", requested_size=0)
        for at in (number + 1, number):
            if 0 < at < len(blocks) and blocks[at - 1]["state"] == blocks[at]["state"] == "inactive":
                blocks[at - 1]["size"] += blocks.pop(at)["size"]

    def empty_cache(self) -> None:
        for address, segment in list(self.segments.items()):
            if not is_used(segment):
                action = "segment_unmap" if self.expandable else "segment_free"
                self.add(action, address, segment["total_size"], segment["stream"])
                del self.segments[address]

    def snapshot(self, first: int = 0) -> Snapshot:
        settings = {"expandable_segments": self.expandable, "max_split_size": -1}
        listed = [self.segments[address] for address in sorted(self.segments)]
        return {"segments": listed, "device_traces": [self.trace[first:]], "allocator_settings": settings}


def program(seed: int, expandable: bool, length: int = 600) -> Allocator:
    """A program that allocates and frees at random, on two streams."""
    rng = random.Random(seed)
    allocator = Allocator(expandable)
    live: list[int] = []
    pending: list[int] = []
    for _ in range(length):
        choice = rng.random()
        if choice < 0.5 or not live:
            sizes = [rng.randrange(1, 4000), rng.randrange(4000, MIB), rng.randrange(MIB, 30 * MIB)]
            live.append(allocator.alloc(rng.choice(sizes), rng.choice([0, 0, 0, 7])))
        elif choice < 0.97:
            address = live.pop(rng.randrange(len(live)))
            allocator.request_free(address)
            if rng.random() < 0.9:
                allocator.complete_free(address)
            else:
                pending.append(address)
        else:
            allocator.empty_cache()
        if pending and rng.random() < 0.2:
            allocator.complete_free(pending.pop())
    return allocator


@pytest.mark.parametrize("expandable", [False, True])
@pytest.mark.parametrize("part", [0, 0.5, 1])
def test_an_allocator_of_our_own_is_followed_exactly(part: float, expandable: bool, tmp_path: pathlib.Path) -> None:
    """Also where the ring has lost the first part of the history, and where there is none."""
    for seed in range(6):
        allocator = program(seed, expandable)
        snapshot = allocator.snapshot(int(len(allocator.trace) * part))
        file = tmp_path / f"{seed}.pickle"
        file.write_bytes(pickle.dumps(snapshot))
        check_end(file, snapshot)


def test_the_worst_moments_are_those_of_a_walk(tmp_path: pathlib.Path) -> None:
    """At the peaks of allocated and reserved: holes as the allocator itself had them then."""
    rng = random.Random(5)
    allocator = Allocator(expandable=False)
    live: list[int] = []
    best: dict[str, tuple[int, dict[str, Any]]] = {}
    for _ in range(300):
        if rng.random() < 0.6 or not live:
            live.append(allocator.alloc(rng.choice([rng.randrange(1, MIB), rng.randrange(MIB, 30 * MIB)])))
        else:
            address = live.pop(rng.randrange(len(live)))
            allocator.request_free(address)
            allocator.complete_free(address)
        now = at_end(list(allocator.segments.values()))
        for moment, key in (("peak_allocated", "allocated_bytes"), ("peak_reserved", "reserved_bytes")):
            if moment not in best or now[key] > best[moment][0]:
                best[moment] = (now[key], now)
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(pickle.dumps(allocator.snapshot()))
    found = {row["moment"]: row for row in rows("fragmentation", file)}
    for moment, (_, expected) in best.items():
        row = found[moment]
        row["free_bytes"] = row["split_bytes"] + row["cached_bytes"]
        assert {key: row[key] for key in expected} == expected, moment
    over_time = rows("fragmentation", file, "--over-time")
    highest: dict[str, int] = defaultdict(int)
    for row in over_time:
        highest[row["curve"]] = max(highest[row["curve"]], row["max_bytes"])
    assert highest["reserved"] == best["peak_reserved"][0]
    assert highest["allocated"] == best["peak_allocated"][0]
    text = tidegauge("fragmentation", file, "--map", "end").stdout
    assert "█" in text and "·" in text and "free" in text


def test_without_segments_reserved_is_not_known(tmp_path: pathlib.Path) -> None:
    allocator = program(1, expandable=False, length=50)
    trace = [entry for entry in allocator.trace if not entry["action"].startswith("segment")]
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(pickle.dumps({"segments": [], "device_traces": [trace]}))
    found = rows("fragmentation", file)
    assert {row["reserved_bytes"] for row in found} == {None}
    assert {row["largest_hole_bytes"] for row in found} == {None}
    assert "reserved is not known" in tidegauge("fragmentation", file).stdout
    refused = tidegauge("fragmentation", file, "--map")
    assert refused.returncode == 2 and "no map of segments" in refused.stderr
