"""The example programs: each does what it says, and what is recorded of it agrees with independent counts."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, clean_environment, program, query, summary

EXAMPLES = ROOT / "examples" / "python"
TESTS = Path(__file__).resolve().parent

pytest.importorskip("torch")


def start(command: list[str], timeout: float = 400) -> str:
    """Runs a Python program to its end, on one thread and without a GPU; returns what it printed."""
    environment = clean_environment(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def example(name: str, run: Path, *options: str) -> str:
    return start([str(EXAMPLES / f"{name}.py"), "--quick", "--run", str(run), *options])


class Counted:
    """A run of an example beside which live tensors were counted."""

    def __init__(self, folder: Path, name: str, options: tuple[str, ...]) -> None:
        self.run, truth = folder / "run", folder / "truth.json"
        script = [
            str(EXAMPLES / f"{name}.py"),
            "--quick",
            "--device",
            "cpu",
            "--run",
            str(self.run),
            *options,
        ]
        start([str(TESTS / "live_bytes.py"), str(truth), *script])
        self.truth: dict[str, Any] = json.loads(truth.read_text())

    @functools.cached_property
    def peak_bytes(self) -> int:
        found: int = summary(self.run)["devices"][0]["peak_allocated_bytes"]
        return found

    @functools.cached_property
    def losses(self) -> list[float]:
        ends = query(self.run, "SELECT value FROM checkpoints WHERE kind = 'step_end' ORDER BY seq")
        return [row["value"] for row in ends]

    def replay(self) -> dict[int, tuple[int, int]]:
        """Of each step: bytes alive at its end, and the most in it; by the plainest reading of the rows."""
        events = query(
            self.run, "SELECT seq, kind, address, size_bytes FROM events WHERE device = -1 ORDER BY seq"
        )
        marks = query(
            self.run, "SELECT seq, kind, step FROM checkpoints WHERE kind LIKE 'step_%' ORDER BY seq"
        )
        alive: dict[int, int] = {}
        total = peak = 0
        steps: dict[int, tuple[int, int]] = {}
        for row in sorted([*events, *marks], key=lambda row: int(row["seq"])):
            if row["kind"] in ("alloc", "baseline"):
                assert row["address"] not in alive
                alive[row["address"]] = row["size_bytes"]
                total += row["size_bytes"]
            elif row["kind"] == "free":
                total -= alive.pop(row["address"])
            elif row["kind"] == "step_begin":
                peak = total
            elif row["kind"] == "step_end":
                steps[row["step"]] = (total, peak)
            peak = max(peak, total)
        return steps


_counted: dict[tuple[str, ...], Counted] = {}


@pytest.fixture
def counted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs an example with its options, once for all tests."""

    def of(name: str, *options: str) -> Counted:
        key = (name, *options)
        if key not in _counted:
            _counted[key] = Counted(tmp_path_factory.mktemp(name), name, options)
        return _counted[key]

    return of


#: Small, since bfloat16 is slow where the processor has no instructions for it.
SMALL = {"transformer": ("--layers", "4", "--time", "32"), "unet": ("--cells", "16")}


@pytest.mark.parametrize(
    "options", [(), ("--checkpointing",), ("--bf16",), ("--checkpointing", "--bf16")], ids=" ".join
)
@pytest.mark.parametrize("name", ["transformer", "unet"])
def test_what_is_alive_is_what_is_counted_independently(
    counted: Any, name: str, options: tuple[str, ...]
) -> None:
    done = counted(name, *SMALL[name], *options)
    recorded, steps = done.replay(), done.truth["steps"]
    assert len(steps) >= 3 and list(recorded) == [step["step"] for step in steps]
    for step in steps:
        live_bytes, peak_bytes = recorded[step["step"]]
        assert live_bytes == step["live_bytes"]
        # Operators have temporaries of their own, which the count beside does not see,
        assert step["peak_bytes"] <= peak_bytes
    # but torch's allocator tells its profiler of.
    assert done.peak_bytes == done.truth["profiler_peak_bytes"]


@pytest.mark.parametrize("name", ["transformer", "unet"])
def test_checkpointing_and_bf16_lower_the_peak_and_not_what_is_learned(counted: Any, name: str) -> None:
    base, checkpointing, bf16, both = (
        counted(name, *SMALL[name], *options)
        for options in [(), ("--checkpointing",), ("--bf16",), ("--checkpointing", "--bf16")]
    )
    assert checkpointing.peak_bytes < 0.7 * base.peak_bytes
    assert bf16.peak_bytes < 0.8 * base.peak_bytes
    assert both.peak_bytes < checkpointing.peak_bytes
    assert base.losses[-1] < 0.9 * base.losses[0]
    assert checkpointing.losses == pytest.approx(base.losses, rel=1e-5)
    assert both.losses == pytest.approx(base.losses, rel=0.02)


@pytest.mark.parametrize("option", ["--batch-size", "--rollout-steps"])
def test_activations_grow_with_batch_and_rollout(counted: Any, option: str) -> None:
    peaks = [counted("unet", *SMALL["unet"], option, str(size)).peak_bytes for size in (2, 4, 6)]
    assert peaks[2] - peaks[1] == pytest.approx(peaks[1] - peaks[0], rel=0.05)
    # What does not grow is small: parameters and the data.
    assert peaks[2] > 2 * peaks[0]


def test_the_exercise_prints_its_table_and_answers(tmp_path: Path) -> None:
    run = tmp_path / "exercise"
    printed = example(
        "exercise", run, "--programs", "transformer", "--batch-size", "4", "8", "12", "--device", "cpu",
        "--tidegauge", program("tidegauge"),
    )  # fmt: skip
    lines = printed.splitlines()
    for name in ("Baseline", "+ Checkpointing", "+ AMP", "+ Both"):
        assert any(line.strip().startswith(f"{name}  ") for line in lines), printed
    saved = next(
        line for line in lines if line.startswith("     + Checkpointing: ") and "of the peak" in line
    )
    assert float(saved.split(",")[1].split("%")[0]) > 30, printed
    slopes = next(line for line in lines if line.startswith("  peak for one more in the batch size"))
    first, second = (float(part.split()[-1]) for part in slopes.split(" MiB")[:2])
    assert first == pytest.approx(second, rel=0.05)


def test_the_viscosity_is_found_and_every_evaluation_recorded(run: Path) -> None:
    pytest.importorskip("phi")
    printed = example("physical_inverse", run)
    error = float(printed.rsplit("→ ", 1)[1].split(";")[0])
    assert error < 0.02, printed
    losses = [
        row["value"]
        for row in query(run, "SELECT value FROM checkpoints WHERE kind = 'loss_evaluation' ORDER BY seq")
    ]
    assert f"Loss evaluations: {len(losses)} in " in printed
    assert losses[-1] < 1e-3 * losses[0]
    counts = query(run, "SELECT name, COUNT(*) AS n FROM checkpoints WHERE kind = 'span_begin' GROUP BY name")
    spans = {row["name"]: row["n"] for row in counts}
    # Four frames in each evaluation, and in the simulations that made the data.
    assert spans["advect"] == spans["diffuse"] == 4 * (len(losses) + 1)
    assert spans["simulate"] == spans["backward"] == len(losses)


def test_the_trainer_of_hugging_face_is_recorded(run: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    printed = example("huggingface_trainer", run, "--device", "cpu", "--steps", "6")
    before, after = printed.rsplit("loss ", 1)[1].split(" in ")[0].split(" → ")
    assert float(after) < float(before)
    steps = query(run, "SELECT step, value FROM checkpoints WHERE kind = 'step_end' ORDER BY seq")
    assert [row["step"] for row in steps] == list(range(6))
    logged = [line for line in printed.splitlines() if line.startswith("{'loss'")]
    assert logged
    recorded = [row["value"] for row in steps if row["value"] is not None]
    assert [f"'loss': '{value:.4g}'" in line for value, line in zip(recorded, logged)] == [True] * len(logged)
    assert {"data", "forward", "backward", "optimizer", "eval"} <= {
        row["name"] for row in query(run, "SELECT DISTINCT name FROM checkpoints WHERE kind = 'span_begin'")
    }


def test_lazy_loading_saves_the_files_that_it_does_not_hold(tmp_path: Path) -> None:
    run = tmp_path / "loading"
    printed = example("lazy_loading", run, "--tidegauge", program("tidegauge"))
    peaks = {loading: summary(run / loading)["peak_rss_bytes"] for loading in ("eager", "lazy")}
    # 20 files of 64 frames of 32768 numbers of 4 bytes, of which 5 are held.
    assert peaks["eager"] - peaks["lazy"] == pytest.approx(15 * 64 * 32768 * 4, rel=0.1)
    assert printed.count("stencil [0.2") == 2
    loads = {
        loading: query(
            run / loading,
            "SELECT COUNT(*) AS n FROM checkpoints WHERE kind = 'span_begin' AND name = 'load_simulation'",
        )
        for loading in ("eager", "lazy")
    }
    assert loads["eager"][0]["n"] == 20 and loads["lazy"][0]["n"] >= 20


def test_stages_hold_the_activations_that_were_planned(run: Path) -> None:
    printed = example("model_parallel", run, "--device", "cpu,cpu")
    assert "saves nothing" in printed
    planned = [
        float(line.split(" MiB of activations")[0].rsplit(" ", 1)[1]) for line in printed.splitlines()[:2]
    ]
    sites = {row["site"]: row["name"] for row in query(run, "SELECT site, name FROM sites")}
    forward = "SELECT {} AS seq FROM checkpoints WHERE name = 'forward' AND kind = '{}'"
    begin = query(run, forward.format("MAX(seq)", "span_begin"))[0]["seq"]
    end = query(run, forward.format("MAX(seq)", "span_end"))[0]["seq"]
    alive: dict[int, tuple[str, int]] = {}
    for row in query(run, f"SELECT * FROM events WHERE seq > {begin} AND seq < {end} ORDER BY seq"):
        if row["kind"] == "alloc":
            alive[row["address"]] = (sites.get(row["site"], ""), row["size_bytes"])
        else:
            alive.pop(row["address"], None)
    held = [
        sum(size for site, size in alive.values() if site.startswith(f"Pipeline.stages.{number}")) / 2**20
        for number in range(2)
    ]
    # The logits are given back when the loss is known.
    planned[1] -= 512 * 10 * 4 / 2**20
    assert held == pytest.approx(planned, abs=0.006)  # printed with two decimals


def test_streamed_predictions_are_the_same_and_hold_less(run: Path) -> None:
    printed = example("streaming_inference", run, "--device", "cpu")
    assert float(printed.split("at most ")[1].split(" apart")[0]) < 1e-5
    phases = {row["phase"]: row["peak_bytes"] for row in query(run, "SELECT * FROM phases WHERE device = -1")}
    assert phases["streamed"] < 0.25 * phases["all_at_once"]


def test_the_adaptive_batch_keeps_to_its_bounds(run: Path) -> None:
    printed = example("adaptive_batch", run, "--device", "cpu")
    size = int(printed.split("batch size ")[-1].split(" within")[0])
    assert 8 <= size <= 512
    steps = query(run, "SELECT batch_size FROM checkpoints WHERE kind = 'step_end' ORDER BY seq")
    sizes = [row["batch_size"] for row in steps]
    # One epoch of 4096 samples; its last batch holds what is left.
    assert sum(sizes) == 4096 and set(sizes[:-1]) == {size} and sizes[-1] <= size
