"""Memory timelines that torch.profiler exports have the peak and categories that torch itself finds."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).parents[2]
#: In the order of torch's columns; the first one is never used.
CATEGORIES = [
    "parameter",
    "optimizer_state",
    "input",
    "temporary",
    "activation",
    "gradient",
    "autograd_detail",
    "unknown",
]


def tidegauge(command: str, path: pathlib.Path, *arguments: str) -> Any:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    line = [target / "debug" / "tidegauge", command, path, *arguments, "--json"]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def profile() -> Any:
    """A profiler that saw two steps of a small model."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))
    optimizer = torch.optim.Adam(model.parameters())
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        profile_memory=True,
        record_shapes=True,
        with_stack=True,
    ) as profiler:
        for _ in range(2):
            batch, target = torch.randn(128, 256), torch.randn(128, 64)
            loss = torch.nn.functional.mse_loss(model(batch), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return profiler


def export(profile: Any, path: pathlib.Path) -> pathlib.Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        profile.export_memory_timeline(str(path), "cpu")
    return path


def own_timeline(profile: Any) -> tuple[list[int], list[list[int]]]:
    """Times in microseconds, and bytes of each category at them, as torch draws them."""
    from torch.profiler._memory_profiler import MemoryProfileTimeline

    times, sizes = MemoryProfileTimeline(profile._memory_profile())._coalesce_timeline("cpu")
    return times, [row[1:] for row in sizes]


def by_category(sizes: list[int]) -> dict[str, int]:
    return {name: size for name, size in zip(CATEGORIES, sizes, strict=True) if size}


def held_at_peak(path: pathlib.Path) -> dict[str, int]:
    return {row["category"]: row["bytes"] for row in tidegauge("peaks", path, "--by", "category")}


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_sizes_have_the_peak_that_torch_draws(profile: Any, tmp_path: pathlib.Path, ending: str) -> None:
    path = export(profile, tmp_path / f"timeline{ending}")
    times, sizes = own_timeline(profile)
    totals = [sum(row) for row in sizes]
    peak = totals.index(max(totals))
    device = tidegauge("summary", path)["devices"][0]
    assert device["peak_allocated_bytes"] == totals[peak] > 0
    assert device["end_allocated_bytes"] == totals[-1]
    assert device["initial_active_bytes"] == totals[0]
    assert device["peak_time"] == pytest.approx((times[peak] - times[0]) / 1e6, abs=1e-9)
    assert held_at_peak(path) == by_category(sizes[peak])
    rows = tidegauge("timeline", path, "-n", "100000")
    assert min(row["min_bytes"] for row in rows if row["curve"] == "allocated") == min(totals[1:])  # the first two have one time


def test_raw_entries_have_the_peak_of_their_sum(profile: Any, tmp_path: pathlib.Path) -> None:
    import gzip

    path = export(profile, tmp_path / "timeline.raw.json.gz")
    entries = json.loads(gzip.open(path).read())
    running = [0] * len(CATEGORIES)
    states: list[tuple[int, list[int]]] = []
    for time, _, size, category in entries:
        running[category] += size
        if states and states[-1][0] == time:
            states.pop()
        states.append((time, list(running)))
    peak = max(states, key=lambda state: sum(state[1]))
    device = tidegauge("summary", path)["devices"][0]
    assert device["peak_allocated_bytes"] == sum(peak[1])
    assert device["end_allocated_bytes"] == sum(running)
    assert held_at_peak(path) == by_category(peak[1])
    # Torch's drawing has a state for each microsecond only, so it may miss a peak and never has a higher one.
    assert device["peak_allocated_bytes"] >= max(sum(row) for row in own_timeline(profile)[1])
    first = min(time for time, *_ in entries if time >= 0)
    assert device["peak_time"] == pytest.approx((peak[0] - first) / 1e9, abs=1e-9)


def test_both_forms_say_what_they_are(profile: Any, tmp_path: pathlib.Path) -> None:
    for ending in [".json", ".raw.json.gz"]:
        path = export(profile, tmp_path / f"timeline{ending}")
        # Whatever its name is, content tells.
        renamed = path.rename(tmp_path / f"{ending.count('.')}.csv")
        summary = tidegauge("summary", renamed)
        assert summary["warnings"] == []
        assert summary["device_use"] == []
        assert len(summary["devices"]) == 1
