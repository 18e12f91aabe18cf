"""`tidegauge plan` predicts what larger batches, and longer sequences, of real torch programs really take."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"
#: Part of what was measured by which a prediction may be off.
TOLERANCE = 0.03

#: A perceptron whose small batches peak in the optimizer and whose large ones peak in backward.
PERCEPTRON = """
import sys
import tidegauge as tg, torch
run, batch_size, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
tg.start(run, config={"batch_size": batch_size, "width": width})
layers = [torch.nn.Linear(width, width) if at % 2 == 0 else torch.nn.GELU() for at in range(9)]
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters())
tg.attach(model, optimizer)
for number in range(4):
    with tg.step(number, batch_size=batch_size):
        with tg.span("data"):
            x = torch.randn(batch_size, 64, width)
        with tg.span("forward"):
            loss = (model(x) - x).square().mean()
        with tg.span("backward"):
            loss.backward()
        with tg.span("optimizer"):
            optimizer.step()
        with tg.span("zero_grad"):
            optimizer.zero_grad()
tg.stop()
"""

#: Attention that keeps its table of weights: memory grows with the square of the length.
ATTENTION = """
import sys
import tidegauge as tg, torch
run, length = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
tg.start(run, config={"sequence_length": length, "width": 32, "batch_size": 4})
project, mix = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)
model = torch.nn.ModuleList([project, mix])
optimizer = torch.optim.Adam(model.parameters())
tg.attach(model, optimizer)
for number in range(4):
    with tg.step(number, batch_size=4):
        x = torch.randn(4, length, 32)
        with tg.span("forward"):
            query, key, value = project(x).chunk(3, -1)
            weights = (query @ key.transpose(1, 2) / 32**0.5).softmax(-1)
            loss = mix(weights @ value).square().mean()
        with tg.span("backward"):
            loss.backward()
        with tg.span("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
tg.stop()
"""


def record(*command: str) -> None:
    """Runs a program that records itself, on one thread and without a GPU."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGAUGE")}
    if "TIDEGAUGE_CACHE" in os.environ:
        kept["TIDEGAUGE_CACHE"] = os.environ["TIDEGAUGE_CACHE"]
    package = str(ROOT / "recorder" / "python" / "python")
    paths = os.pathsep.join([package, *filter(None, [kept.get("PYTHONPATH")])])
    environment = {**kept, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=400, env=environment
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def run_tidegauge(*arguments: str) -> subprocess.CompletedProcess[str]:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return subprocess.run([target / "debug" / "tidegauge", *arguments], capture_output=True, text=True)


def tidegauge(*arguments: str) -> Any:
    done = run_tidegauge(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def peak_bytes(run: pathlib.Path) -> int:
    """What the run took at most, on the host."""
    found: int = tidegauge("summary", str(run))["devices"][0]["peak_allocated_bytes"]
    return found


def programs(folder: pathlib.Path, name: str, size: int) -> tuple[pathlib.Path, list[str]]:
    """Where a program of that name records with that batch size, or length, and how it is called."""
    run = folder / f"{name}-{size}"
    if name == "attention":
        return run, ["-c", ATTENTION, str(run), str(size)]
    if name.startswith("perceptron"):
        return run, ["-c", PERCEPTRON, str(run), str(size), name.removeprefix("perceptron-")]
    script = [str(EXAMPLES / f"{name}.py"), "--quick", "--device", "cpu", "--run", str(run)]
    return run, [*script, "--batch-size", str(size)]


def predicted(runs: list[pathlib.Path], *options: str) -> dict[int, dict[str, Any]]:
    """The rows of a plan whose budget is beyond all it predicts, by size."""
    rows = tidegauge("plan", *map(str, runs), "--budget", "1TiB", *options)
    return {row["value"]: row for row in rows if row["basis"] == "estimated"}


def compare(name: str, rows: dict[int, dict[str, Any]], truth: dict[int, int]) -> None:
    """Says how far off each prediction is, and fails if one is too far."""
    errors = {}
    for size, measured in truth.items():
        found = rows[size]["predicted_bytes"]
        errors[size] = found / measured - 1.0
        print(
            f"{name} at {size}: measured {measured}, predicted {found} ({errors[size]:+.2%}, "
            f"{rows[size]['phase']}, {rows[size]['model']})"
        )
    assert all(abs(error) <= TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize("name", ["transformer", "unet", "perceptron-64", "perceptron-384"])
def test_four_and_eight_predict_sixteen_and_thirty_two(tmp_path: pathlib.Path, name: str) -> None:
    runs = {}
    for size in (4, 8, 16, 32):
        runs[size], command = programs(tmp_path, name, size)
        record(*command)
    rows = predicted([runs[4], runs[8]])
    truth = {size: peak_bytes(runs[size]) for size in (16, 32)}
    compare(name, rows, truth)
    # The largest that fits into what 16 and a half took is 16.
    row = rows[16]
    budget = truth[16] + (truth[32] - truth[16]) // 32
    answers = tidegauge("plan", str(runs[4]), str(runs[8]), "--budget", str(budget), "--headroom", "0")
    answer = next(row["value"] for row in answers if row["is_answer"])
    assert answer == 16, f"{answer}: {row}"


def test_the_square_of_a_length_is_seen(tmp_path: pathlib.Path) -> None:
    runs = {}
    for size in (64, 128, 192, 256, 384, 512, 1024):
        runs[size], command = programs(tmp_path, "attention", size)
        record(*command)
    truth = {size: peak_bytes(runs[size]) for size in (512, 1024)}
    # Up to 64 another moment of backward has its peak, so that the points lie on no parabola exactly.
    for sizes in ((64, 128, 192, 256), (128, 192, 256, 384)):
        rows = predicted([runs[size] for size in sizes], "--by", "sequence_length")
        compare(f"attention from {sizes}", rows, truth)
        assert rows[1024]["model"] == "quadratic"
    # A line through two lengths is no fit for that: its fixed part is below nothing.
    done = run_tidegauge(
        "plan", str(runs[256]), str(runs[512]), "--by", "sequence_length", "--budget", "1TiB"
    )
    assert done.returncode == 2 and "negative fixed part" in done.stderr, done.stderr
    assert "four different values" in done.stderr, done.stderr
