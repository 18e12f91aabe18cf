"""A caching allocator as torch's is, in a few lines, and the command that reads the snapshots that it makes."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
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


class Allocator:
    """A caching allocator as torch's is, in a few lines: best fit, splits, rounding, expandable segments."""

    def __init__(self, expandable: bool, total_bytes: int | None = None, outside_bytes: int = 0) -> None:
        self.expandable = expandable
        self.total_bytes = total_bytes
        self.outside_bytes = outside_bytes
        self.annotations: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.segments: dict[int, dict[str, Any]] = {}
        self.trace: list[dict[str, Any]] = []
        self.next_address = 0x7F0000000000

    def add(self, action: str, address: int, size: int, stream: int) -> None:
        entry = {"addr": address, "size": size, "stream": stream, "time_us": self._now()}
        self.trace.append({"action": action, "frames": list(self.frames), **entry})

    def _now(self) -> int:
        return 10**15 + 10 * (len(self.trace) + len(self.annotations))

    def mark(self, name: str, stage: str) -> None:
        self.annotations.append({"name": name, "stage": stage, "device": 0, "time_us": self._now()})

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A range of the profiler; one that an exception ends has no end."""
        self.mark(name, "START")
        yield
        self.mark(name, "END")

    def free_on_device(self) -> int:
        assert self.total_bytes is not None
        held = sum(segment["total_size"] for segment in self.segments.values())
        return self.total_bytes - self.outside_bytes - held

    def _take(self, size: int, requested: int, stream: int) -> None:
        """Refuses what the device has not, after giving back what is not in use."""
        if self.total_bytes is None or size <= self.free_on_device():
            return
        self.empty_cache()
        if size > self.free_on_device():
            entry = {"device_free": self.free_on_device(), "size": requested, "stream": stream}
            entry |= {"time_us": self._now(), "frames": list(self.frames)}
            self.trace.append({"action": "oom", **entry})
            raise MemoryError

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
                self._take(grown, size, stream)
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
        self._take(total, size, stream)
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
        block.update(requested_size=requested, state="active_allocated", frames=list(self.frames))
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

    def free(self, address: int) -> None:
        self.request_free(address)
        self.complete_free(address)

    def empty_cache(self) -> None:
        for address, segment in list(self.segments.items()):
            if not is_used(segment):
                action = "segment_unmap" if self.expandable else "segment_free"
                self.add(action, address, segment["total_size"], segment["stream"])
                del self.segments[address]

    def snapshot(self, first: int = 0) -> Snapshot:
        settings = {"expandable_segments": self.expandable, "max_split_size": -1}
        listed = [self.segments[address] for address in sorted(self.segments)]
        whole = {"segments": listed, "device_traces": [self.trace[first:]], "allocator_settings": settings}
        return whole | {"external_annotations": self.annotations}
