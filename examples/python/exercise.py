"""The exercise of memory profiling: four configurations, their table, and its questions answered.

    python examples/python/exercise.py --run runs/exercise

trains transformer.py and unet.py as they are, with checkpointing, with bfloat16 and with both, then the
baseline at several batch sizes (and the U-Net with several rollouts), each in a process of its own, into
folders of runs/exercise. The table is `tidegauge compare`; where memory peaks, what is saved, what that
costs and whether the loss stays the same is read from the same comparison.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: Name in the table and options, of either program.
CONFIGURATIONS: dict[str, list[str]] = {
    "Baseline": [],
    "+ Checkpointing": ["--checkpointing"],
    "+ AMP": ["--bf16"],
    "+ Both": ["--checkpointing", "--bf16"],
}
MIB = 2**20


class Exercise:
    """Trains, compares, and answers."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.run = Path(arguments.run)

    def train(self, program: str, folder: str, name: str, *options: str) -> str:
        """Runs an example; returns the folder of its trace."""
        given = ["--device", self.arguments.device, *(["--quick"] if self.arguments.quick else [])]
        if self.arguments.steps is not None:
            given += ["--steps", str(self.arguments.steps)]
        path = str(self.run / folder)
        command = [
            sys.executable,
            str(HERE / f"{program}.py"),
            "--run",
            path,
            "--name",
            name,
            *given,
            *options,
        ]
        subprocess.run(command, check=True)
        return path

    def compare(self, *runs: str) -> list[dict[str, Any]]:
        """Prints `tidegauge compare` of the runs, of which the first is the base; returns its rows."""
        command = [self.arguments.tidegauge, "compare", *runs]
        print(flush=True)
        subprocess.run(command, check=True)
        rows = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
        found: list[dict[str, Any]] = json.loads(rows)
        # On an accelerator the host has rows, too; the device is what is asked about.
        device = max(row["device"] for row in found)
        return [row for row in found if row["device"] == device]

    def configurations(self, program: str) -> None:
        """The exercise's table, and its four questions."""
        print(f"\n{program}: four configurations")
        runs = [
            self.train(program, f"{program}-{number}", name, *options)
            for number, (name, options) in enumerate(CONFIGURATIONS.items())
        ]
        rows = {row["configuration"]: row for row in self.compare(*runs)}
        base = rows["Baseline"]
        # `recompute` is what backward runs again of forward.
        print("\n  1. Where does memory peak, in forward or in backward?")
        for name, row in rows.items():
            print(
                f"     {name}: in {row['peak_phase']}, in step {row['peak_step']}, "
                f"{row['peak_bytes'] / MIB:.2f} MiB"
            )
        print("  2. How much memory is saved?")
        for name, row in list(rows.items())[1:]:
            print(
                f"     {name}: {-row['peak_delta_bytes'] / MIB:.2f} MiB, "
                f"{-row['peak_delta_share']:.1%} of the peak"
            )
        print("  3. What does it cost in time?")
        for name, row in list(rows.items())[1:]:
            change = f"{row['step_delta_share']:+.0%}, {row['step_verdict']}"
            print(
                f"     {name}: {row['step_nanos'] / 1e6:.0f} ms a step instead of "
                f"{base['step_nanos'] / 1e6:.0f} ({change})"
            )
        print(
            "  4. Does it change what is learned? (all start from the same weights and see the same batches)"
        )
        for name, row in list(rows.items())[1:]:
            change = row["final_loss"] / base["final_loss"] - 1
            print(
                f"     {name}: loss {row['final_loss']:.5f} instead of {base['final_loss']:.5f} "
                f"({change:+.2%})"
            )

    def growth(self, program: str, option: str, values: list[int], key: str) -> None:
        """How the peak grows with the batch size, or with the number of rollout steps."""
        print(f"\n{program}: {key}")
        runs = [
            self.train(
                program, f"{program}-{option.strip('-')}-{value}", f"{key} {value}", option, str(value)
            )
            for value in values
        ]
        peaks = [row["peak_bytes"] for row in self.compare(*runs)]
        print(f"\n  peak for one more in the {key}:", end=" ")
        pairs = list(zip(values, peaks))
        slopes = [(b - a) / (y - x) / MIB for (x, a), (y, b) in zip(pairs, pairs[1:])]
        print(", ".join(f"{slope:.3f} MiB" for slope in slopes) + ": the same, if the peak is linear in it")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/exercise", help="folder of the traces")
    parser.add_argument("--steps", type=int, help="of each run; by default the programs' own numbers")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--programs", nargs="+", default=["transformer", "unet"], choices=["transformer", "unet"]
    )
    parser.add_argument("--batch-size", type=int, nargs="*", default=[2, 4, 8], help="sizes to compare")
    parser.add_argument(
        "--rollout-steps", type=int, nargs="*", default=[2, 4, 6], help="of the U-Net, to compare"
    )
    parser.add_argument("--tidegauge", default="tidegauge", help="the analyzer")
    parser.add_argument("--quick", action="store_true", help="few steps in each run, for tests")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if shutil.which(arguments.tidegauge) is None:
        sys.exit(f"the analyzer `{arguments.tidegauge}` is not there; --tidegauge says where it is")
    exercise = Exercise(arguments)
    for program in arguments.programs:
        exercise.configurations(program)
        if len(arguments.batch_size) > 1:
            exercise.growth(program, "--batch-size", arguments.batch_size, "batch size")
    if "unet" in arguments.programs and len(arguments.rollout_steps) > 1:
        exercise.growth("unet", "--rollout-steps", arguments.rollout_steps, "rollout steps")


if __name__ == "__main__":
    main()
