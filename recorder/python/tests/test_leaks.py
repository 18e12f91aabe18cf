"""Leaks that are planted in training with torch, and growth that is none: what `tidegauge leaks` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch_program import Outcome, record

STEPS = 40

LOOP = """
tg.start(RUN)
model = Net()
optimizer = torch.optim.Adam(model.parameters())
tg.attach(model, optimizer)
x, y = torch.randn(16, 32), torch.randn(16, 1)
kept = []
{before}
for number in range({steps}):
    with tg.step(number):
        with tg.span("forward"):
            loss = nn.functional.mse_loss(model(x), y)
        with tg.span("backward"):
            loss.backward()
        with tg.span("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        with tg.span("bookkeeping"):
            {inside}
tg.stop()
"""


def train(folder: Path, inside: str, before: str = "", steps: int = STEPS) -> Outcome:
    return record(folder, LOOP.format(inside=inside, before=before, steps=steps))


def curves(rows: list[dict[str, Any]], curve: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["curve"] == curve and row["site"] is None]


def verdict(outcome: Outcome, curve: str = "allocated") -> str:
    (row,) = curves(outcome.table("leaks"), curve)
    return str(row["verdict"])


def is_within(found: float, truth: float, share: float = 0.05) -> bool:
    return abs(found / truth - 1) < share


def test_tensors_in_a_list_are_found_with_rate_site_and_phase(tmp_path: Path) -> None:
    rows = train(tmp_path, "kept.append(torch.zeros(5000))").table("leaks")
    (total,) = curves(rows, "allocated")
    assert total["verdict"] == "leak"
    assert is_within(total["slope_bytes"], 20_000), total
    sites = [row for row in rows if row["site"] is not None]
    assert is_within(sites[0]["slope_bytes"], 20_000), sites
    assert sites[0]["phase"] == "bookkeeping"


def test_a_loss_kept_with_its_graph_grows_where_its_activations_are_made(tmp_path: Path) -> None:
    outcome = train(tmp_path, "kept.append(nn.functional.mse_loss(model(x), y))")
    rows = outcome.table("leaks")
    (total,) = curves(rows, "allocated")
    assert total["verdict"] == "leak"
    # What each step leaves behind, counted block by block: alive at the end, by the step that it was born in.
    ends = [row["seq"] for row in outcome.checkpoints if row["kind"] == "step_end"]
    left = [
        sum(b["bytes"] for b in outcome.blocks() if first < b["begin"] <= last and b["end"] is None)
        for first, last in zip(ends[10:20], ends[11:21], strict=True)
    ]
    truth = sorted(left)[len(left) // 2]
    assert truth > 10_000, left
    assert is_within(total["slope_bytes"], truth), (total, left)
    names = [row["site"] for row in rows if row["site"] is not None]
    assert any("blocks" in name for name in names), names


def test_what_numpy_holds_is_seen_in_the_resident_size(tmp_path: Path) -> None:
    outcome = train(
        tmp_path, "kept.append(numpy.ones(1 << 18))", before="import numpy", steps=60
    )  # 2 MiB a step
    rows = outcome.table("leaks")
    (rss,) = curves(rows, "rss")
    assert rss["verdict"] == "leak", rows
    assert is_within(rss["slope_bytes"], 2 << 20), rss
    assert curves(rows, "allocated")[0]["verdict"] == "stable", rows


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("pass", {"stable"}),  # the optimizer's state comes in the first step
        # A warm-up longer than the one of the optimizer.
        ("kept.append(torch.zeros(50_000)) if number < 6 else None", {"stable"}),
        # An epoch's outputs, given back at its end; the run ends in the middle of one.
        ("kept.append(torch.zeros(50_000)); kept.clear() if number % 9 == 8 else None", {"stable"}),
        # A cache that fills for half of the run.
        ("kept.append(torch.zeros(50_000)) if number < 20 else None", {"levels off"}),
        # A plateau after a jump.
        ("kept.append(torch.zeros(500_000)) if number == 25 else None", {"levels off", "stable"}),
    ],
    ids=["nothing", "warm-up", "sawtooth", "cache", "jump"],
)
def test_what_is_no_leak_is_not_called_one(tmp_path: Path, inside: str, expected: set[str]) -> None:
    outcome = train(tmp_path, inside)
    assert verdict(outcome) in expected
    assert verdict(outcome, "allocated_peak") != "leak"
    assert not [row for row in outcome.table("leaks") if row["site"] is not None]
