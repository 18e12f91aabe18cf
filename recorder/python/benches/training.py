"""What recording everything costs a training run, next to torch.profiler and memray: interleaved runs of one script.

    python benches/training.py [--runs 7] [--steps 40]

A run is a process of its own that trains a small transformer on the CPU and says how long its steps took, the first few
left out. Budget: everything recorded against nothing, 1.03 (median of the ratios of neighbouring runs).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM_UP_STEPS = 5
MODES = ["off", "on", "torch.profiler", "memray"]


def train(mode: str, steps: int, folder: str) -> float:
    """Seconds for `steps` steps."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(2)
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, dropout=0.0)
    model = nn.Sequential(nn.Embedding(512, 256), nn.TransformerEncoder(layer, 4), nn.Linear(256, 512))
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(0, 512, (16, 129))
    if mode == "on":
        import tidegauge as tg

        tg.start(folder)
        tg.attach(model, optimizer)

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()

    for _ in range(WARM_UP_STEPS):
        step()
    profiler = torch.profiler.profile(profile_memory=True) if mode == "torch.profiler" else None
    began = time.perf_counter()
    if profiler is not None:
        profiler.start()
    for _ in range(steps):
        step()
    if profiler is not None:
        profiler.stop()
    seconds = time.perf_counter() - began
    if mode == "on":
        import tidegauge as tg

        if tg.dropped_records() or not tg.is_on():
            raise SystemExit("not everything was recorded")
        tg.stop()
    return seconds


def one_run(mode: str, steps: int, folder: Path) -> float:
    """A run in a process of its own."""
    inner = [__file__, "--inner", mode, "--steps", str(steps), "--folder", str(folder / "trace")]
    command = [sys.executable, *inner]
    if mode == "memray":
        command = [sys.executable, "-m", "memray", "run", "--quiet", "-o", str(folder / "memray.bin"), *inner]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode != 0:
        raise SystemExit(f"{mode}: {done.stderr}")
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--inner", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        print(train(arguments.inner, arguments.steps, arguments.folder))
        return
    modes = [mode for mode in MODES if mode != "memray" or importlib.util.find_spec("memray")]
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for number in range(arguments.runs):
        # Turned each time, so that none always comes after the same one.
        for mode in modes[number % len(modes) :] + modes[: number % len(modes)]:
            folder = Path(tempfile.mkdtemp(prefix="tidegauge-bench-"))
            try:
                seconds[mode].append(one_run(mode, arguments.steps, folder))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    for mode in modes:
        ratio = statistics.median(a / b for a, b in zip(seconds[mode], seconds["off"], strict=True))
        per_step = statistics.median(seconds[mode]) / arguments.steps * 1e3
        low, high = (bound(seconds[mode]) / arguments.steps * 1e3 for bound in (min, max))
        print(f"{mode:16} {per_step:8.1f} ms a step ({low:.1f} to {high:.1f}), {ratio:6.3f} x off")


if __name__ == "__main__":
    main()
