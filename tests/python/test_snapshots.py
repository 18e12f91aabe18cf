"""PyTorch memory snapshots in every form that they exist in, against a plain walk over what `pickle.load` gives.

The walk is the definition: start from what is live at the end less the net of the trace, add at each alloc, subtract at
each free_completed.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import pathlib
import pickle
import random
import subprocess
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CORPUS = pathlib.Path(os.environ.get("TIDEGAUGE_CORPUS") or ROOT.parent / "shared" / "corpus")
LIVE = ("active_allocated", "active_pending_free", "active_awaiting_free")
Snapshot = Any


def tidegauge(*arguments: object) -> subprocess.CompletedProcess[str]:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [str(target / "debug" / "tidegauge"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def summary(*files: pathlib.Path) -> dict[str, Any]:
    done = tidegauge("summary", *files, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def figures(*files: pathlib.Path) -> dict[int, tuple[Any, ...]]:
    return {
        device["device"]: (
            device["initial_active_bytes"],
            device["peak_active_bytes"],
            device["peak_event_index"],
            device["end_active_bytes"],
            device["peak_reserved_bytes"],
        )
        for device in summary(*files)["devices"]
    }


def walk(snapshot: Snapshot) -> dict[int, tuple[Any, ...]]:
    """The same figures, from their definitions."""
    found = {}
    devices = {segment["device"] for segment in snapshot["segments"]}
    devices |= {device for device, trace in enumerate(snapshot["device_traces"]) if trace}
    for device in devices:
        traces = snapshot["device_traces"]
        trace = traces[device] if device < len(traces) else []
        segments = [segment for segment in snapshot["segments"] if segment["device"] == device]
        end = sum(
            block.get("requested_size", block["size"])
            for segment in segments
            for block in segment["blocks"]
            if block["state"] in LIVE
        )
        signs = {"alloc": 1, "free_completed": -1}
        active = end - sum(signs.get(entry["action"], 0) * entry["size"] for entry in trace)
        initial, peak, at = active, active, None
        signs_reserved = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}
        reserved = sum(segment["total_size"] for segment in segments)
        reserved -= sum(signs_reserved.get(entry["action"], 0) * entry["size"] for entry in trace)
        peak_reserved = reserved
        for index, entry in enumerate(trace):
            active += signs.get(entry["action"], 0) * entry["size"]
            reserved += signs_reserved.get(entry["action"], 0) * entry["size"]
            peak_reserved = max(peak_reserved, reserved)
            if active > peak:
                peak, at = active, index
        found[device] = (initial, peak, at, active, peak_reserved)
    return found


def frames(number: int) -> list[dict[str, Any]]:
    return [
        {"name": f"function_{number}", "filename": "/home/me/model.py", "line": number + 1},
        {"name": "main", "filename": "/home/me/train.py", "line": 7},
    ]


def history(seed: int, device: int, length: int = 400) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A trace and the segments at its end, of a program that had begun before."""
    rng = random.Random(seed)
    base = 0x7F0000000000 + (device << 36)
    stacks = [frames(number) for number in range(20)]
    segments = {base + number * 1_000_000: 1_000_000 for number in range(4)}
    blocks: dict[int, int] = {}
    trace: list[dict[str, Any]] = []

    def add(action: str, address: int, size: int) -> None:
        time = 1_700_000_000_000_000 + len(trace) * 10 + device
        stack = rng.choice(stacks)
        fields = {"addr": address, "size": size, "stream": 0, "time_us": time, "frames": stack}
        trace.append({"action": action, **fields})

    for _ in range(length):
        if len(blocks) < 10 or (rng.random() < 0.5 and len(blocks) < 60):
            free = [at + slot * 10_000 for at in segments for slot in range(100)]
            address = rng.choice([at for at in free if at not in blocks])
            blocks[address] = rng.randrange(1, 10_000)
            add("alloc", address, blocks[address])
        elif rng.random() < 0.05:
            address = base + (10 + len(trace)) * 1_000_000
            segments[address] = 1_000_000
            add("segment_alloc", address, 1_000_000)
        else:
            address = rng.choice(list(blocks))
            add("free_requested", address, blocks[address])
            add("free_completed", address, blocks.pop(address))
    listed = []
    for start, size in segments.items():
        inside = [
            {
                "address": start + slot * 10_000,
                "size": 10_000,
                "requested_size": blocks.get(start + slot * 10_000, 0),
                "state": "active_allocated" if start + slot * 10_000 in blocks else "inactive",
                "frames": stacks[slot % 20],
            }
            for slot in range(100)
        ]
        common = {"device": device, "address": start, "total_size": size, "stream": 0}
        listed.append({**common, "segment_pool_id": (0, 0), "blocks": inside})
    # A ring: the first half is lost.
    return trace[len(trace) // 2 :], listed


def snapshot(*devices: int) -> Snapshot:
    traces: list[list[dict[str, Any]]] = [[] for _ in range(max(devices) + 1)]
    segments = []
    for device in devices:
        traces[device], of_device = history(device + 1, device)
        segments += of_device
    return {"segments": segments, "device_traces": traces, "allocator_settings": {"max_split_size": -1}}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_json_give_the_same_figures(protocol: int, tmp_path: pathlib.Path) -> None:
    whole = snapshot(0, 2)
    expected = walk(whole)
    assert len(expected) == 2
    pickled = tmp_path / "snapshot.pickle"
    pickled.write_bytes(pickle.dumps(whole, protocol))
    assert figures(pickled) == expected
    squeezed = tmp_path / "snapshot.pickle.gz"
    squeezed.write_bytes(gzip.compress(pickled.read_bytes()))
    assert figures(squeezed) == expected
    # The name says nothing.
    text = tmp_path / "snapshot.txt"
    text.write_text(json.dumps(whole))
    assert figures(text) == expected
    by_site = [tidegauge("peaks", file, "--json").stdout for file in (pickled, squeezed, text)]
    assert json.loads(by_site[0]) and len(set(by_site)) == 1
    top = json.loads(by_site[0])[0]["site"]
    assert top.startswith("function_") and top.endswith(f" at me/model.py:{int(top.split()[0][9:]) + 1}")


def test_python_and_c_picklers_without_a_memo_of_dicts(tmp_path: pathlib.Path) -> None:
    """Python's own pickler (`pickle._Pickler`), and one that never shares."""
    whole = snapshot(0)
    expected = walk(whole)
    for number, fast in enumerate([False, True]):
        file = tmp_path / f"{number}.pickle"
        with file.open("wb") as out:
            pickler = pickle._Pickler(out, 4)  # type: ignore[attr-defined]
            pickler.fast = fast
            pickler.dump(copy.deepcopy(whole) if fast else whole)
        assert figures(file) == expected


def test_a_bare_list_of_segments_and_its_old_form(tmp_path: pathlib.Path) -> None:
    """2.0: no traces, no addresses of blocks, a history instead of frames."""
    segments = snapshot(0)["segments"]
    end = walk({"segments": segments, "device_traces": []})[0]
    for segment in segments:
        for block in segment["blocks"]:
            stack = block.pop("frames")
            del block["address"]
            if block["state"] == "active_allocated":
                history = [{"addr": 0, "real_size": block["requested_size"], "frames": stack}]
                block["history"] = history
            del block["requested_size"]
    for number, content in enumerate([pickle.dumps(segments, 2), json.dumps(segments).encode()]):
        file = tmp_path / f"{number}"
        file.write_bytes(content)
        assert figures(file) == {0: (end[0], end[0], None, end[0], end[4])}
        held = json.loads(tidegauge("peaks", file, "--json").stdout)
        assert {row["site"].split("_")[0] for row in held} == {"function"}
        assert sum(row["bytes"] for row in held) == end[0]


def test_host_traces_are_of_the_host(tmp_path: pathlib.Path) -> None:
    whole = snapshot(0)
    trace, segments = history(9, 0)
    expected = walk({"segments": segments, "device_traces": [trace]})[0]
    for number, traces in enumerate([[trace], trace]):
        file = tmp_path / f"{number}.pickle"
        file.write_bytes(pickle.dumps({**whole, "host_segments": segments, "host_traces": traces}))
        assert figures(file) == {-1: expected, **walk(whole)}


def test_annotations_are_steps_and_phases(tmp_path: pathlib.Path) -> None:
    whole = snapshot(0)
    trace = whole["device_traces"][0]
    times = [entry["time_us"] for entry in trace]
    marks = [
        ("ProfilerStep#3", times[0], times[-1]),
        ("## forward ##", times[10], times[100]),
        ("Optimizer.step#Adam.step", times[120], times[180]),
    ]
    whole["external_annotations"] = [
        {"name": name, "stage": stage, "device": 0, "time_us": time}
        for name, begin, end in marks
        for stage, time in (("START", begin), ("END", end))
    ]
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(pickle.dumps(whole))
    steps = json.loads(tidegauge("steps", file, "--json").stdout)
    assert [(row["step"], row["duration_nanos"]) for row in steps] == [(3, (times[-1] - times[0]) * 1000)]
    phases = {row["phase"]: row for row in json.loads(tidegauge("phases", file, "--json").stdout)}
    assert set(phases) == {"forward", "optimizer"}
    # What was allocated and not freed between the two entries, both included.
    signs = {"alloc": 1, "free_requested": -1}
    delta = sum(signs.get(entry["action"], 0) * entry["size"] for entry in trace[10:101])
    assert phases["forward"]["mean_delta_bytes"] == delta


def test_several_files_are_ranks_of_one_run(tmp_path: pathlib.Path) -> None:
    expected = {}
    for rank in (0, 3):
        whole = snapshot(rank)
        (tmp_path / f"rank{rank:05}_memory_snapshot.pickle").write_bytes(pickle.dumps(whole))
        expected[rank] = walk(whole)[rank]
    files = sorted(tmp_path.iterdir())
    named = summary(*files)
    assert {row["rank"] for row in named["devices"]} == {0, 3}
    assert figures(*files) == expected
    assert figures(tmp_path / "rank*_memory_snapshot.pickle") == expected
    one = tidegauge("peaks", tmp_path / "rank*.pickle", "--rank", 3, "--json")
    assert one.returncode == 0 and {row["device"] for row in json.loads(one.stdout)} == {3}
    nothing = tidegauge("summary", tmp_path / "node*.pickle")
    assert nothing.returncode == 2 and "nothing has such a name" in nothing.stderr


def test_entries_without_times_are_counted_not_timed(tmp_path: pathlib.Path) -> None:
    whole = snapshot(0)
    expected = walk(whole)
    for entry in whole["device_traces"][0]:
        del entry["time_us"]
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(pickle.dumps(whole))
    assert figures(file) == expected
    found = summary(file)
    assert found["devices"][0]["peak_time"] is None
    assert any("no times" in warning for warning in found["warnings"])


def test_unknown_actions_are_counted_and_keep_their_place(tmp_path: pathlib.Path) -> None:
    whole = snapshot(0)
    whole["device_traces"][0].insert(0, {"action": "teleport", "addr": 1, "size": 2, "frames": [], "time_us": 1})
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(pickle.dumps(whole))
    assert figures(file) == walk(whole)
    assert any("1 entries are of action `teleport`" in warning for warning in summary(file)["warnings"])


class Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch /nonexistent/never",)


@pytest.mark.parametrize("content", ["code", "other pickle", "cut", "empty", "text", "zip"])
def test_what_is_no_snapshot_gets_one_clear_line(content: str, tmp_path: pathlib.Path) -> None:
    whole = pickle.dumps(snapshot(0))
    contents, said = {
        "code": (pickle.dumps({"segments": [Code()]}), "STACK_GLOBAL"),
        "other pickle": (pickle.dumps({"model": [1, 2]}), "neither `segments` nor `device_traces`"),
        "cut": (whole[: len(whole) // 2], "file is damaged"),
        "empty": (b"", "it is empty"),
        "text": (b"hello\n", "text of no kind that is known"),
        "zip": (b"PK\x03\x04" + bytes(100), "torch.save"),
    }[content]
    file = tmp_path / "snapshot.pickle"
    file.write_bytes(contents)
    done = tidegauge("summary", file)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and str(file) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_corpus_walked_by_hand() -> None:
    if not CORPUS.exists():
        pytest.skip(f"SKIPPED: there is no corpus at {CORPUS}; TIDEGAUGE_CORPUS names another folder")
    for file in sorted((CORPUS / "snapshots").iterdir()):
        with file.open("rb") as opened:
            assert figures(file) == walk(pickle.load(opened)), file.name
