"""The tools that exports are for read them: what they see is what the commands say."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import subprocess
import xml.etree.ElementTree
from collections import Counter
from typing import Any

import numpy
import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import CounterDescriptor, Trace, TrackEvent
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).parents[2]
SAMPLE = ROOT / "schemas" / "samples" / "v1"


def tidegauge(*arguments: str) -> str:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [target / "debug" / "tidegauge", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rows(command: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tidegauge(command, str(SAMPLE), "--format", "csv"))))


def export(to: str, path: pathlib.Path) -> pathlib.Path:
    tidegauge("export", str(SAMPLE), "--to", to, "-o", str(path))
    return path


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return json.loads(tidegauge("summary", str(SAMPLE), "--json"))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """The sample as a Perfetto trace, decoded with the definitions that Perfetto publishes."""
    decoded = Trace()
    decoded.ParseFromString(export("perfetto", tmp_path_factory.mktemp("perfetto") / "t.pftrace").read_bytes())
    return decoded


def assert_known(message: Message) -> None:
    assert not len(UnknownFieldSet(message)), f"fields that {message.DESCRIPTOR.full_name} does not have"
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if not isinstance(value, Message) else [value]:
                assert_known(inner)


def phase_counts() -> Counter[str]:
    """Phases by name, counted in the trace itself: each mark and each end of a span ends one."""
    sql = "SELECT name, COUNT(*) AS n FROM checkpoints WHERE kind IN ('mark', 'span_end') GROUP BY name"
    answer = tidegauge("query", str(SAMPLE), sql, "--format", "csv")
    counts = Counter({row["name"]: int(row["n"]) for row in csv.DictReader(io.StringIO(answer))})
    assert counts
    return counts


def test_perfetto_knows_every_field_and_writes_them_as_we_do(trace: Trace) -> None:
    for packet in trace.packet:
        assert_known(packet)
        assert packet.trusted_packet_sequence_id == 1
    again = Trace()
    again.ParseFromString(trace.SerializeToString(deterministic=True))
    assert again == trace


def test_perfetto_sees_phases_steps_and_peaks(trace: Trace, summary: dict[str, Any]) -> None:
    tracks = {}
    names: dict[int, str] = {}
    categories: dict[int, str] = {}
    open_slices: dict[int, list[str]] = {}
    begun: Counter[tuple[str, str]] = Counter()
    values: dict[str, list[int]] = {}
    last = 0
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        names.update({name.iid: name.name for name in packet.interned_data.event_names})
        categories.update({name.iid: name.name for name in packet.interned_data.event_categories})
        if not packet.HasField("track_event"):
            continue
        assert packet.timestamp >= last
        last = packet.timestamp
        event = packet.track_event
        track = tracks[event.track_uuid]
        if event.type == TrackEvent.TYPE_COUNTER:
            assert track.counter.unit == CounterDescriptor.UNIT_SIZE_BYTES
            values.setdefault(track.name, []).append(event.counter_value)
        elif event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert track.HasField("thread")
            open_slices.setdefault(event.track_uuid, []).append(names[event.name_iid])
            begun[categories[event.category_iids[0]], names[event.name_iid]] += 1
        elif event.type == TrackEvent.TYPE_SLICE_END:
            open_slices[event.track_uuid].pop()
        else:
            assert event.type == TrackEvent.TYPE_INSTANT
            assert categories[event.category_iids[0]] == "mark"
    assert not any(open_slices.values())

    phases = Counter({name: count for (category, name), count in begun.items() if category == "phase"})
    assert phases == phase_counts()
    steps = {name for category, name in begun if category == "step"}
    assert steps == {f"step {row['step']}" for row in rows("steps")}

    device = summary["devices"][0]
    assert device["device"] == -1
    assert max(values["host allocated"]) == device["peak_allocated_bytes"]
    assert max(values["host active"]) == device["peak_active_bytes"]
    assert values["host allocated"][-1] == device["end_allocated_bytes"]
    assert max(values["process rss"]) <= summary["peak_rss_bytes"]

    (process,) = [track for track in tracks.values() if track.HasField("process")]
    assert process.process.process_name.startswith("rank 0 process 0")
    threads = [track.thread for track in tracks.values() if track.HasField("thread")]
    assert all(thread.pid == process.process.pid for thread in threads)
    assert all(thread.thread_name == f"thread {thread.tid}" for thread in threads)


def test_chrome_json_is_an_object_of_events(tmp_path: pathlib.Path, summary: dict[str, Any]) -> None:
    content = json.loads(export("chrome", tmp_path / "t.json").read_text())
    events = content["traceEvents"]
    slices = Counter((event["cat"], event["name"]) for event in events if event["ph"] == "X")
    phases = Counter({name: count for (category, name), count in slices.items() if category == "phase"})
    assert phases == phase_counts()
    counters = [event for event in events if event["ph"] == "C" and event["name"] == "host allocated"]
    assert max(event["args"]["bytes"] for event in counters) == summary["devices"][0]["peak_allocated_bytes"]
    times = [event["ts"] for event in counters]
    assert times == sorted(times)
    assert min(event["ts"] for event in events if "ts" in event) >= 0
    assert {event["ph"] for event in events} <= set("CXiM")


def test_tensorboard_reads_scalars_of_each_step(tmp_path: pathlib.Path) -> None:
    folder = export("tensorboard", tmp_path / "board")
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    steps = rows("steps")
    columns = {
        "peak_allocated_bytes/host": "peak_bytes",
        "end_allocated_bytes/host": "end_bytes",
        "loss": "loss",
        "batch_size": "batch_size",
    }
    for tag, column in columns.items():
        told = [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)]
        # TensorBoard's scalars are 32-bit floats.
        assert told == [(int(row["step"]), float(numpy.float32(row[column]))) for row in steps], tag
    seconds = [scalar.value for scalar in accumulator.Scalars("step_seconds")]
    assert seconds == pytest.approx([int(row["duration_nanos"]) / 1e9 for row in steps], rel=1e-6)
    times = [scalar.wall_time for scalar in accumulator.Scalars("loss")]
    assert times == sorted(times)
    started = json.loads((SAMPLE / "run.json").read_text())["started_unix_nanos"] / 1e9
    assert started <= times[0] < started + 3600


def test_flame_graph_is_xml_and_its_stacks_sum_up(tmp_path: pathlib.Path, summary: dict[str, Any]) -> None:
    folded = export("flamegraph", tmp_path / "t.folded").read_text().splitlines()
    total = sum(int(line.rpartition(" ")[2]) for line in folded)
    assert total == summary["devices"][0]["peak_allocated_bytes"]
    root = xml.etree.ElementTree.parse(export("flamegraph", tmp_path / "t.svg")).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(f"{total:,} bytes, 100%" in title for title in titles), titles
