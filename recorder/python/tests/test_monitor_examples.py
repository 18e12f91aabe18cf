"""`python -m tidegauge.examples` shows every monitor, with torch and without, recorded and not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tidegauge.monitor
from conftest import clean_environment, query, summary


def examples(*arguments: str, python: tuple[str, ...] = ("-m", "tidegauge.examples"), code: int = 0) -> str:
    command = [sys.executable, *python, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_every_monitor_is_shown_with_what_it_prints(run: Path) -> None:
    shown = examples("--record", str(run))
    for name in {*tidegauge.monitor.__all__, "on_step", "on_loss_evaluation"} - {
        "MonitoredLoss",
        "TrackedMemory",
    }:
        assert name in shown, name
    for line in [
        r"At the beginning: CPU: \d+\.\d MB \| GPU Allocated: \d+\.\d MB \| GPU Reserved: \d+\.\d MB",
        r"Memory Usage Summary",
        r"\[Memory\] loading dataset: CPU \+\d+\.\d MB, GPU \+\d+\.\d MB",
        r"         Peak GPU: \d+\.\d MB",
        r"\[Memory\] loading in the background: CPU [+-]\d+\.\d MB, GPU \+\d+\.\d MB",
        r"Forty megabytes Memory Usage:",
        r"  Maximum: \d+\.\d\d MB",
        r"2 0\.333\d* True True",
        r"    Iteration 1: loss=10\.060100",
        r"  Growth per evaluation: CPU \+\d\.\d{3} MB, GPU \+0\.000 MB",
        r"Memory monitoring enabled \(verbose for first 3 batches\)",
        r"  Batch 2: GPU \d+\.\d MB, CPU \d+\.\d MB, loss=\d\.\d{6}",
        r"  Epoch end: GPU \d+\.\d MB allocated, \d+\.\d MB reserved, peak \d+\.\d MB",
        r"      backward → optimizer: GPU \d+\.\d MB \([+-]\d+\.\d MB\)",
        r"Using batch size: \d+",
        r"\(10000, 10\) cpu training: True",
    ]:
        assert re.search(f"^{line}", shown, re.MULTILINE), line
    assert shown.count("not run") == 0
    assert summary(run)["ended"] == "clean"
    evaluations = query(run, "select count(*) as n from checkpoints where kind = 'loss_evaluation'")
    assert evaluations[0]["n"] == 30


def test_without_torch_its_examples_are_shown_and_not_run() -> None:
    # A finder that knows no torch stands for an environment without it.
    hide = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv[0] = "tidegauge.examples"
runpy.run_module("tidegauge.examples", run_name="__main__")
"""
    shown = examples(python=("-c", hide))
    assert shown.startswith("torch is not installed here")
    assert shown.count("(not run: torch is not installed here)") == 4
    assert "predict_large_batch" in shown and "  Peak GPU memory during optimization: 0.0 MB" in shown


def test_examples_can_be_chosen() -> None:
    shown = examples("blocks", "steps")
    assert shown.count("\n=== ") == 2
    assert "no such example: nothing" in examples("nothing", code=2)


def test_any_terminal_will_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegauge.examples", "black-box", "batch"],
        capture_output=True,
        env=clean_environment(PYTHONIOENCODING="ascii"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert b"data_to_gpu \\u2192 forward" in done.stdout
