"""`tidegauge fragmentation` against plain computations over what `pickle.load` gives.

At the end a snapshot lists every segment with its blocks: free memory, its largest piece and what rounding adds can be
summed up there. The command gets there from the history, by the allocator's rules, so the two have to agree exactly.
"""

from __future__ import annotations

import os
import pathlib
import pickle
import random
from collections import defaultdict
from typing import Any

import pytest
from caching_allocator import MIB, ROOT, Allocator, holes, is_used, rows, tidegauge

CORPUS = pathlib.Path(os.environ.get("TIDEGAUGE_CORPUS") or ROOT.parent / "shared" / "corpus")
Snapshot = Any


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
