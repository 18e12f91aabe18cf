"""Operators of a profiler's trace have the calls and the memory that torch's own table gives them."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import subprocess
from typing import Any

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).parents[2]


def tidegauge(*arguments: str) -> Any:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [target / "debug" / "tidegauge", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def train(steps: int, with_stack: bool) -> Any:
    """A profile of a small network's training on the CPU, marked in part."""
    from torch.profiler import ProfilerActivity, profile, record_function

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 30 * 30, 10)
    )
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        with record_function("## forward ##"):
            loss = model(torch.randn(4, 3, 32, 32)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=steps)
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, with_stack=with_stack, schedule=schedule
    ) as profiler:
        for _ in range(steps + 1):
            step()
            if profiler.step_num < steps:
                profiler.step()
    return profiler


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_operators_are_those_of_key_averages(tmp_path: pathlib.Path, name: str) -> None:
    profiler = train(3, with_stack=False)
    path = tmp_path / name
    profiler.export_chrome_trace(str(path))
    assert path.read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")
    theirs = {
        row.key: (row.count, row.self_cpu_memory_usage, row.cpu_memory_usage)
        for row in profiler.key_averages()
    }
    ours = {
        row["site"]: (row["calls"], row["self_bytes"], row["inclusive_bytes"])
        for row in tidegauge("sites", str(path), "--sort", "inclusive")
    }
    assert len(theirs) > 40
    assert ours == theirs
    rows = tidegauge("sites", str(path), "--sort", "inclusive")
    order = [row["inclusive_bytes"] for row in rows]
    assert order == sorted(order, reverse=True)


def test_peak_phases_and_stacks_are_the_programs(tmp_path: pathlib.Path) -> None:
    profiler = train(2, with_stack=True)
    path = tmp_path / "rank3.json"
    profiler.export_chrome_trace(str(path))
    events = json.loads(path.read_text())["traceEvents"]
    totals = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    summary = tidegauge("summary", str(path))
    [device] = summary["devices"]
    assert device["device"] == -1
    assert device["peak_allocated_bytes"] == max(totals)
    phases = {row["phase"]: row["count"] for row in tidegauge("phases", str(path))}
    assert {"forward", "backward", "optimizer", "zero_grad"} <= phases.keys()
    sites = tidegauge("query", str(path), "SELECT name, stack FROM sites")
    stacks = [row["stack"] for row in sites if row["name"] == "aten::addmm"]
    assert any("train at " in stack and "test_kineto.py" in stack for stack in stacks)


def test_a_trace_without_memory_says_what_to_do(tmp_path: pathlib.Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        torch.zeros(3)
    path = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(path))
    with gzip.open(tmp_path / "again.json.gz", "wt") as compressed:
        compressed.write(path.read_text())
    for file in (path, tmp_path / "again.json.gz"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            tidegauge("summary", str(file))
        assert "profile_memory=True" in refused.value.stderr
        assert refused.value.returncode == 2
