"""`python -m tidegauge.examples`: shows every monitor, its source and what it prints; with `--record`, into a
trace."""

from __future__ import annotations

import argparse

import tidegauge as tg

from . import black_box, process, training
from .example import Example, has_torch

EXAMPLES = [
    Example("What is held now: MemoryMonitor", process.moments),
    Example("Named moments: MemoryTracker", process.tracker),
    Example("Blocks of code: track_memory", process.blocks),
    Example("Functions, generators and coroutines: monitor_memory", process.functions),
    Example("One operation: MemoryProfiler", process.operation),
    Example("A curve over time: MemoryMonitor(interval)", process.over_time),
    Example("Told of each step: on_step", process.steps),
    Example("A black-box optimizer: monitor_loss", black_box.black_box),
    Example(
        "The same, from a configuration: EpochMemoryMonitor.on_loss_evaluation", black_box.physical_trainer
    ),
    Example("Epochs of training: EpochMemoryMonitor", training.epochs, needs_torch=True),
    Example("Parts of a batch: BatchMemoryProfiler", training.batch, needs_torch=True),
    Example("The largest batch that fits: AdaptiveBatchTrainer", training.batch_size, needs_torch=True),
    Example("A large input in chunks: StreamingInference", training.inference, needs_torch=True),
]


def main() -> None:
    """Runs the examples that are named, all if none is."""
    known = {example.name: example for example in EXAMPLES}
    parser = argparse.ArgumentParser(prog="python -m tidegauge.examples", description="Shows every monitor.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all if none is given"
    )
    parser.add_argument("--record", metavar="RUN", help="also records a trace into this folder")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no such example: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in arguments.names] or EXAMPLES
    if not has_torch():
        print("torch is not installed here: examples of training are shown and not run.")
    run = tg.start(arguments.record) if arguments.record else None
    for example in chosen:
        example.show()
    if run is not None:
        tg.stop()
        print(f"\nRecorded: tidegauge summary {run}")


if __name__ == "__main__":
    main()
