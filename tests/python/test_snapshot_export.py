"""`tidegauge export --to pytorch-snapshot`: torch's own script takes it, and a walk over it gives the peaks of the trace.

Traces are written here with pyarrow, row by row, as any other program could: what their peaks are is known from a model of a
few lines that shares nothing with the analyzer.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import pickletools
import random
import subprocess
import sys
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SAMPLE = ROOT / "schemas" / "samples" / "v1"
ORIGIN_NANOS = 1_767_225_600_000_000_000

#: The instructions that the viewer in the browser knows (torch/utils/viz/MemoryViz.js), of protocols 2 to 4.
VIEWER_OPCODES = set(
    "PROTO FRAME STOP MARK APPEND APPENDS EMPTY_LIST EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE "
    "NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINPUT LONG_BINPUT BINGET "
    "LONG_BINGET MEMOIZE LIST DICT".split()
)

Row = dict[str, Any]

COLUMNS = {
    "events": {
        "kind": pyarrow.string(),
        "device": pyarrow.int16(),
        "address": pyarrow.uint64(),
        "size_bytes": pyarrow.int64(),
        "stream": pyarrow.uint64(),
        "pool": pyarrow.string(),
        "thread": pyarrow.uint32(),
        "site": pyarrow.uint32(),
        "category": pyarrow.string(),
    },
    "checkpoints": {
        "kind": pyarrow.string(),
        "name": pyarrow.string(),
        "step": pyarrow.int64(),
        "epoch": pyarrow.int64(),
        "thread": pyarrow.uint32(),
        "value": pyarrow.float64(),
        "batch_size": pyarrow.int64(),
    },
    "sites": {"site": pyarrow.uint32(), "name": pyarrow.string(), "stack": pyarrow.string()},
}


def tidegauge(*arguments: object) -> subprocess.CompletedProcess[str]:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [str(target / "debug" / "tidegauge"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def write_trace(run: pathlib.Path, tables: dict[str, list[Row]]) -> pathlib.Path:
    """A trace of one process; rows without a `seq` of their own are numbered, a microsecond apart."""
    for table, rows in tables.items():
        schema = pyarrow.schema({"seq": pyarrow.uint64(), "time": pyarrow.timestamp("ns", "UTC")} | COLUMNS[table])
        metadata = {"format_version": "1", "table": table, "run_id": "made", "consumed": "0-0"}
        numbered = [{"seq": seq} | row for seq, row in enumerate(rows)]
        numbered = [{"time": ORIGIN_NANOS + row["seq"] * 1000} | row for row in numbered]
        folder = run / table / "rank=0" / "process=0"
        folder.mkdir(parents=True)
        path = folder / "part-000000.parquet"
        with pyarrow.parquet.ParquetWriter(path, schema, store_schema=False, compression="zstd") as writer:
            writer.write_table(pyarrow.Table.from_pylist(numbered, schema))
            writer.add_key_value_metadata({f"tidegauge.{key}": value for key, value in metadata.items()})
    home = run / "_process" / "rank=0" / "process=0"
    home.mkdir(parents=True)
    started = {"started": "2026-01-01T00:00:00Z", "run_id": "made", "format_version": 1}
    process = started | {"rank": 0, "process": 0, "host": "h", "pid": 1, "command": [], "clock_source": "file"}
    (home / "process.json").write_text(json.dumps(process | {"ended": "clean"}))
    (run / "run.json").write_text(json.dumps(started | {"started_unix_nanos": ORIGIN_NANOS}))
    return run


def export(run: pathlib.Path, *arguments: object) -> tuple[dict[str, Any], str, pathlib.Path]:
    """The snapshot, what was said of it, and its file."""
    path = run.parent / f"{run.name}.pickle"
    said = tidegauge("export", run, "--to", "pytorch-snapshot", "-o", path, "-f", *arguments).stderr
    content = path.read_bytes()
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(content)}
    assert opcodes <= VIEWER_OPCODES
    return pickle.loads(content), said, path


def viz(path: pathlib.Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "torch.cuda._memory_viz", arguments[0], str(path), *map(str, arguments[1:])]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def walk(snapshot: dict[str, Any], device: int) -> dict[str, int]:
    """Active of a device from the snapshot alone: what is alive at the end, less what the trace adds to it."""
    deltas = {"alloc": 1, "free_completed": -1}
    trace = snapshot["device_traces"][device]
    changes = [deltas.get(entry["action"], 0) * entry["size"] for entry in trace]
    segments = [segment for segment in snapshot["segments"] if segment["device"] == device]
    live = [block for segment in segments for block in segment["blocks"] if block["state"] != "inactive"]
    end = sum(block["requested_size"] for block in live)
    active = peak = initial = end - sum(changes)
    for change in changes:
        active += change
        peak = max(peak, active)
    return {"initial": initial, "peak": peak, "end": end}


def walk_reserved(snapshot: dict[str, Any], device: int) -> int:
    signs = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}
    changes = [signs.get(entry["action"], 0) * entry["size"] for entry in snapshot["device_traces"][device]]
    total = sum(segment["total_size"] for segment in snapshot["segments"] if segment["device"] == device)
    reserved = peak = total - sum(changes)
    for change in changes:
        reserved += change
        peak = max(peak, reserved)
    return peak


def check_books(snapshot: dict[str, Any]) -> None:
    """What a viewer relies on: blocks cover their segment, addresses follow from sizes, a free is of what is alive."""
    for segment in snapshot["segments"]:
        address = segment["address"]
        for block in segment["blocks"]:
            assert block["address"] == address
            address += block["size"]
        assert address == segment["address"] + segment["total_size"]
        alive = [block for block in segment["blocks"] if block["state"].startswith("active")]
        assert segment["active_size"] == sum(block["requested_size"] for block in alive)
    for trace in snapshot["device_traces"]:
        alive: dict[int, int] = {}
        requested = set()
        times = [entry["time_us"] for entry in trace]
        assert times == sorted(times)
        for entry in trace:
            address = entry.get("addr")
            match entry["action"]:
                case "alloc":
                    assert address not in alive
                    alive[address] = entry["size"]
                case "free_requested":
                    assert alive.get(address, entry["size"]) == entry["size"]
                    assert address not in requested
                    requested.add(address)
                case "free_completed":
                    assert alive.pop(address, entry["size"]) == entry["size"]
                    requested.discard(address)


def random_events(seed: int, steps: int) -> tuple[list[Row], dict[str, int]]:
    """Blocks of a device that come and go, some alive from before, and the truth of the active curve."""
    choose = random.Random(seed)
    rows: list[Row] = []
    alive: dict[int, int] = {}
    pending: dict[int, int] = {}
    base = 0x7F00_0000_0000
    segment = 64 << 20

    def row(kind: str, address: int | None, size: int | None = None) -> None:
        site = choose.choice([None, 1, 2, 3]) if kind == "alloc" else None
        stream = choose.choice([None, 7])
        rows.append({"kind": kind, "device": 0, "address": address, "size_bytes": size, "site": site, "stream": stream})

    row("segment_baseline", base, segment)
    for number in range(choose.randrange(6)):
        address, size = base + number * 4096, choose.randrange(1, 4096)
        row("baseline", address, size)
        alive[address] = size
    for number in range(6, 6 + choose.randrange(3)):
        address, size = base + number * 4096, choose.randrange(1, 4096)
        row("baseline_pending", address, size)
        pending[address] = size
    initial = active = peak = sum(alive.values()) + sum(pending.values())
    reserved = reserved_peak = segment
    mapped: list[int] = []
    for _ in range(steps):
        match choose.randrange(8):
            case 0 | 1 | 2:
                free = [base + n * 4096 for n in range(200) if base + n * 4096 not in alive | pending]
                address, size = choose.choice(free), choose.randrange(1, 4096)
                row("alloc", address, size)
                alive[address] = size
                active += size
            case 3 | 4 if alive:
                address = choose.choice(sorted(alive))
                row("free", address)
                active -= alive.pop(address)
            case 5 if alive:
                address = choose.choice(sorted(alive))
                row("free_requested", address)
                pending[address] = alive.pop(address)
            case 6 if pending:
                address = choose.choice(sorted(pending))
                row("free_completed", address)
                active -= pending.pop(address)
            case 7:
                if mapped and choose.random() < 0.5:
                    row("segment_unmap", mapped.pop(), 2 << 20)
                    reserved -= 2 << 20
                else:
                    mapped.append(base + segment + (2 << 20) * len(mapped))
                    row("segment_map", mapped[-1], 2 << 20)
                    reserved += 2 << 20
                if choose.random() < 0.2:
                    row("oom", None, 1 << 40)
        peak = max(peak, active)
        reserved_peak = max(reserved_peak, reserved)
    return rows, {"initial": initial, "peak": peak, "end": active, "reserved_peak": reserved_peak}


SITES = [
    {"site": 1, "name": "layer", "stack": "relu at D:\\net.py:3\nforward at /home/me/at work/net.py:40"},
    {"site": 2, "name": "unet.down1", "stack": None},
    {"site": 3, "name": "layer", "stack": "matmul at a.py:1\nforward at /home/me/at work/net.py:40"},
]


@pytest.mark.parametrize("seed", range(12))
def test_a_walk_over_the_snapshot_gives_the_peaks_of_the_trace(seed: int, tmp_path: pathlib.Path) -> None:
    rows, expected = random_events(seed, 150)
    run = write_trace(tmp_path / "run", {"events": rows, "sites": SITES})
    snapshot, said, path = export(run)
    check_books(snapshot)
    found = walk(snapshot, 0)
    assert found | {"reserved_peak": walk_reserved(snapshot, 0)} == expected
    device = json.loads(tidegauge("summary", run, "--json").stdout)["devices"][0]
    assert device["peak_active_bytes"] == expected["peak"]
    assert device["initial_active_bytes"] == expected["initial"]
    assert device["peak_reserved_bytes"] == expected["reserved_peak"]
    # The history does not tell what the device had free when memory ran out; nothing else is amiss.
    failed = sum(entry["action"] == "oom" for trace in snapshot["device_traces"] for entry in trace)
    expected = f"what the device had free is not known for {failed} `oom` entries"
    assert said.count("warning:") == (failed > 0) and (expected in said) == (failed > 0)


def test_torchs_own_script_takes_it(tmp_path: pathlib.Path) -> None:
    rows, _ = random_events(3, 400)
    run = write_trace(tmp_path / "run", {"events": rows, "sites": SITES})
    _, _, path = export(run)
    text = viz(path, "trace")
    ooms = sum(row["kind"] == "oom" for row in rows)
    assert ooms > 0 and text.count("raise OutOfMemoryError") == ooms
    assert "= seg_0[" in text and "segment_map" in text
    assert viz(path, "stats").count("segments: ") == 1
    for plot in (["trace_plot"], ["trace_plot", "-s"], ["trace_plot", "-f"], ["segment_plot"]):
        viz(path, *plot, "-o", tmp_path / "plot.html")
        assert "add_local_files" in (tmp_path / "plot.html").read_text()


def test_a_part_of_the_time_has_what_was_alive_before_it(tmp_path: pathlib.Path) -> None:
    rows, _ = random_events(5, 150)
    run = write_trace(tmp_path / "run", {"events": rows})
    for start, end in [("50us", "100us"), ("100us", "1s"), ("0s", "30us")]:
        snapshot, _, _ = export(run, "--start", start, "--end", end)
        check_books(snapshot)
        device = json.loads(tidegauge("summary", run, "--json", "--start", start, "--end", end).stdout)["devices"][0]
        found = walk(snapshot, 0)
        assert (found["peak"], found["end"]) == (device["peak_active_bytes"], device["end_active_bytes"])


def test_frames_are_shared_and_those_of_the_sites(tmp_path: pathlib.Path) -> None:
    def alloc(number: int, site: int | None) -> Row:
        return {"kind": "alloc", "device": 0, "address": number * 512, "size_bytes": 512, "site": site}

    run = write_trace(
        tmp_path / "run", {"events": [alloc(n, n % 3 + 1) for n in range(300)] + [alloc(300, None)], "sites": SITES}
    )
    snapshot, _, path = export(run)
    trace = snapshot["device_traces"][0]
    forward = {"name": "forward", "filename": "/home/me/at work/net.py", "line": 40}
    assert trace[0]["frames"] == [{"name": "relu", "filename": "D:\\net.py", "line": 3}, forward]
    assert trace[1]["frames"] == [{"name": "unet.down1", "filename": "??", "line": 0}]
    assert "frames" not in trace[300]
    assert trace[0]["frames"] is trace[3]["frames"], "a list for each site"
    assert trace[0]["frames"][1] is trace[2]["frames"][1], "a dictionary for each frame"
    blocks = [block for segment in snapshot["segments"] for block in segment["blocks"]]
    assert blocks[0]["frames"] is trace[0]["frames"]
    assert path.read_bytes().count(b"/home/me/at work/net.py") == 1
    for kind in ("segments", "memory"):
        # The script fetches a Perl program for the picture; its input is what is ours.
        code = (
            "import pickle, sys; from torch.cuda import _memory_viz as viz; data = pickle.load(open(sys.argv[1], 'rb'))\n"
            f"print(viz.{kind}(data, format_flamegraph=lambda lines: lines))"
        )
        command = [sys.executable, "-c", code, str(path)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert lines.count("active_allocated;net.py:40:forward;net.py:3:relu 512") + lines.count("D:\\net.py:3:relu 512") > 0


def test_the_host_is_the_device_after_the_accelerators(tmp_path: pathlib.Path) -> None:
    def event(kind: str, device: int, address: int, size: int | None) -> Row:
        return {"kind": kind, "device": device, "address": address, "size_bytes": size}

    run = write_trace(
        tmp_path / "run",
        {
            "events": [
                event("alloc", -1, 64, 100),
                event("alloc", 2, 64, 7),
                event("alloc", -1, 512, 50),
                event("free", -1, 64, None),
            ]
        },
    )
    snapshot, said, path = export(run)
    assert [len(trace) for trace in snapshot["device_traces"]] == [0, 0, 1, 4]
    assert "memory of the host is device 3 in the file" in said
    assert walk(snapshot, 3) == {"initial": 0, "peak": 150, "end": 50}
    assert walk(snapshot, 2) == {"initial": 0, "peak": 7, "end": 7}
    assert "Device 3" in viz(path, "trace")
    only_host, _, _ = export(run, "--device", "-1")
    assert [len(trace) for trace in only_host["device_traces"]] == [4]


def test_what_has_no_address_is_said(tmp_path: pathlib.Path) -> None:
    run = write_trace(
        tmp_path / "run",
        {
            "events": [
                {"kind": "baseline", "device": 0, "address": None, "size_bytes": 1000},
                {"kind": "baseline", "device": 0, "address": 4096, "size_bytes": 10},
                {"kind": "alloc", "device": 0, "address": 8192, "size_bytes": 30},
                {"kind": "alloc", "device": 0, "address": None, "size_bytes": 5},
                # A block whose free was missed, and one that nobody has seen.
                {"kind": "alloc", "device": 0, "address": 8192, "size_bytes": 20},
                {"kind": "free", "device": 0, "address": 1, "size_bytes": None},
            ]
        },
    )
    snapshot, said, _ = export(run)
    check_books(snapshot)
    assert walk(snapshot, 0) == {"initial": 1010, "peak": 1040, "end": 1030}
    assert "1000 bytes of device 0 that were there before" in said
    assert "1 events of device 0 have no address" in said


def test_phases_and_steps_are_annotations(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sample.pickle"
    tidegauge("export", SAMPLE, "--to", "pytorch-snapshot", "-o", path)
    snapshot = pickle.loads(path.read_bytes())
    annotations = snapshot["external_annotations"]
    assert [entry["time_us"] for entry in annotations] == sorted(entry["time_us"] for entry in annotations)
    steps = json.loads(tidegauge("steps", SAMPLE, "--json").stdout)
    phases = json.loads(tidegauge("phases", SAMPLE, "--json").stdout)
    for stage in ("START", "END"):
        names = [entry["name"] for entry in annotations if entry["stage"] == stage]
        assert [name for name in names if name.startswith("ProfilerStep#")] == [
            f"ProfilerStep#{row['step']}" for row in steps
        ]
        for row in phases:
            assert names.count(row["phase"]) == row["count"], row
    depth: list[str] = []
    for entry in annotations:
        if entry["stage"] == "START":
            depth.append(entry["name"])
        else:
            assert depth.pop() == entry["name"], "the inner one ends before the outer one"
    assert depth == []


def test_the_sample_trace(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sample.pickle"
    tidegauge("export", SAMPLE, "--to", "pytorch-snapshot", "-o", path)
    snapshot = pickle.loads(path.read_bytes())
    check_books(snapshot)
    device = json.loads(tidegauge("summary", SAMPLE, "--json").stdout)["devices"][0]
    expected = {
        "initial": device["initial_active_bytes"],
        "peak": device["peak_active_bytes"],
        "end": device["end_active_bytes"],
    }
    assert walk(snapshot, 0) == expected
    viz(path, "trace_plot", "-o", tmp_path / "plot.html")
    viz(path, "segment_plot", "-o", tmp_path / "segments.html")
