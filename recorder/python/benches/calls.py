"""What a call costs the training loop, next to the way in which loops are monitored by hand: one run, in turns.

    python benches/calls.py

Budgets: `checkpoint` 50 times cheaper than reading resident memory with psutil and torch's counters, when the sampler
reads the counters; a prebuilt span below 200 ns.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import timeit

import psutil
import tidegauge as tg
import torch

#: As many rounds as it takes to see past a busy neighbour; each case has its turn in each.
ROUNDS = 15
SPAN = tg.span("forward")
USE_SPAN = "with SPAN: pass"
CHECKPOINT = "tg.checkpoint('after_forward')"


def by_hand() -> dict[str, float]:
    """What monitors do at each call: `psutil.Process()` and torch's counters, in MB."""
    if torch.cuda.is_available():
        allocated, cached = torch.cuda.memory_allocated() / 1024**2, torch.cuda.memory_reserved() / 1024**2
    else:
        allocated, cached = 0.0, 0.0
    return {
        "cpu": psutil.Process().memory_info().rss / 1024**2,
        "gpu_allocated": allocated,
        "gpu_cached": cached,
    }


class Nothing:
    """The least that a context manager written in Python can be."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


NOTHING = Nothing()


def nanos(statement: str, runs: int) -> float:
    """Of one run of the statement, in a loop as bare as Python has it."""
    return timeit.timeit(statement, globals=globals(), number=runs) / runs * 1e9


def main() -> None:
    folder = tempfile.mkdtemp(prefix="tidegauge-bench-")
    measured: dict[str, list[float]] = {}
    fast, slow = 20_000, 500

    def measure(name: str, statement: str, runs: int) -> None:
        measured.setdefault(name, []).append(nanos(statement, runs))

    try:
        for number in range(ROUNDS):
            measure("nothing: the loop", "pass", fast)
            measure("`with` of an empty Python class", "with NOTHING: pass", fast)
            measure("by hand: psutil and torch's counters", "by_hand()", slow)
            measure("checkpoint, off", CHECKPOINT, fast)
            measure("prebuilt span, off", USE_SPAN, fast)
            for counters in ("sampled", "fresh"):
                tg.start(f"{folder}/{counters}-{number}", counters=counters)
                measure(f"checkpoint, {counters}", CHECKPOINT, fast)
                measure(f"prebuilt span, {counters}", USE_SPAN, fast)
                if tg.dropped_records():
                    raise SystemExit("records were dropped: what was measured is not recording")
                tg.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in measured.items()}
    hand = medians["by hand: psutil and torch's counters"]
    for name, median in medians.items():
        low, high = min(measured[name]), max(measured[name])
        print(f"{name:40} {median:9.0f} ns  ({low:.0f} to {high:.0f}), by hand is {hand / median:7.1f} x")


if __name__ == "__main__":
    main()
