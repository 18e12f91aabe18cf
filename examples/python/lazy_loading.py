"""Many simulations on disk: all of them loaded at once, or only when they are needed, the last five kept.

    python examples/python/lazy_loading.py --run runs/loading

runs itself twice, once eager and once lazy, into runs/loading/eager and runs/loading/lazy, and compares the
two:

    tidegauge compare runs/loading/eager runs/loading/lazy
    tidegauge plot timeline runs/loading/lazy -o lazy.svg

What is compared is the resident memory of the process, so that nothing but numpy is needed here, and no
allocations are recorded. Both train the same thing, the stencil of a heat equation, on the same windows in
the same order.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import tidegauge as tg

FRAMES = 64
TRUE_STENCIL = (0.2, 0.6, 0.2)


class Simulations:
    """Simulations in files, of which at most `cached` are in memory; loaded when they are asked for."""

    def __init__(self, files: list[Path], cached: int) -> None:
        self.files, self.cached = files, cached
        self._loaded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._load = tg.span("load_simulation")

    def __getitem__(self, number: int) -> np.ndarray:
        if number not in self._loaded:
            # Room is made before another one is loaded.
            while len(self._loaded) >= self.cached:
                self._loaded.popitem(last=False)
            with self._load:
                self._loaded[number] = np.load(self.files[number])
        self._loaded.move_to_end(number)
        return self._loaded[number]


def write_simulations(folder: Path, simulations: int, cells: int) -> list[Path]:
    """Heat that spreads on a ring: each file holds [frames, cells] in single precision."""
    rng = np.random.default_rng(0)
    left, middle, right = TRUE_STENCIL
    files = []
    for number in range(simulations):
        states = [rng.standard_normal(cells).astype(np.float32)]
        while len(states) < FRAMES:
            state = states[-1]
            states.append(left * np.roll(state, 1) + middle * state + right * np.roll(state, -1))
        files.append(folder / f"simulation-{number:03}.npy")
        np.save(files[-1], np.asarray(states, np.float32))
    return files


def train(arguments: argparse.Namespace, files: list[Path]) -> None:
    """Fits the stencil by gradient descent, a window of frames at a time."""
    cached = len(files) if arguments.loading == "eager" else arguments.max_cached_sims
    tg.start(arguments.run, interval=0.01, config={
        "name": arguments.loading, "model": "stencil", "batch_size": arguments.batch_size,
        "data": {"max_cached_sims": cached, "simulations": len(files)},
    })  # fmt: skip
    simulations = Simulations(files, cached)
    if arguments.loading == "eager":
        with tg.span("load_all"):
            for number in range(len(files)):
                simulations[number]
    stencil = np.zeros(3, np.float32)
    for number in range(arguments.steps):
        with tg.step(number, batch_size=arguments.batch_size) as step:
            with tg.span("data"):
                # A window slides over one simulation after the other: the cache meets what it holds.
                which, first = divmod(number * arguments.batch_size, FRAMES - arguments.batch_size)
                window = simulations[which % len(files)][first : first + arguments.batch_size + 1]
                now, after = window[:-1], window[1:]
            with tg.span("forward"):
                neighbours = np.stack([np.roll(now, 1, -1), now, np.roll(now, -1, -1)])
                missed = np.tensordot(stencil, neighbours, 1) - after
                step.loss = float(np.mean(missed**2))
            with tg.span("backward"):
                gradient = (neighbours * missed).mean((1, 2)) / np.mean(now**2)
            with tg.span("optimizer"):
                stencil -= arguments.rate * gradient
    trace = tg.stop()
    print(
        f"{arguments.loading}: stencil {[round(float(weight), 3) for weight in stencil]} "
        f"of {list(TRUE_STENCIL)}; trace in {trace}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/loading", help="folder of the two traces")
    parser.add_argument("--loading", choices=["both", "eager", "lazy"], default="both")
    parser.add_argument(
        "--data", type=Path, help="folder of simulations; by default they are made and removed again"
    )
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--cells", type=int, default=65536, help="of a simulation; 65536 are 16 MiB on disk")
    parser.add_argument("--max-cached-sims", type=int, default=5, help="that lazy loading keeps")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=4, help="frames in a window")
    parser.add_argument("--rate", type=float, default=0.5, help="of learning")
    parser.add_argument("--tidegauge", default="tidegauge", help="the analyzer")
    parser.add_argument("--quick", action="store_true", help="smaller, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cells = min(arguments.cells, 32768)
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.loading != "both":
        train(arguments, sorted(arguments.data.glob("*.npy")))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.data or Path(made)
        if not any(folder.glob("*.npy")):
            write_simulations(folder, arguments.simulations, arguments.cells)
        for loading in ("eager", "lazy"):
            # Each in a process of its own: what one has taken from the system is not there for the other.
            subprocess.run([
                sys.executable, __file__, "--loading", loading,
                "--run", f"{arguments.run}/{loading}", "--data", folder,
                "--max-cached-sims", str(arguments.max_cached_sims), "--steps", str(arguments.steps),
                "--batch-size", str(arguments.batch_size), "--rate", str(arguments.rate),
            ], check=True)  # fmt: skip
    command = [arguments.tidegauge, "compare", f"{arguments.run}/eager", f"{arguments.run}/lazy"]
    if shutil.which(arguments.tidegauge) is None:
        print("the analyzer is not on the PATH: " + " ".join(command))
        return
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
