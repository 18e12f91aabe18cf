"""What a call costs the training loop, next to the way in which loops are monitored by hand: one run, in turns.

    python benches/calls.py

Budgets: `checkpoint` 50 times cheaper than reading resident memory with psutil and torch's counters, when the sampler
reads the counters; a prebuilt span below 200 ns.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable

import psutil
import torch

import tidegauge as tg

#: As many rounds as it takes to see past a busy neighbour; each case has its turn in each.
ROUNDS = 15
SPAN = tg.span("forward")


def by_hand() -> dict[str, float]:
    """What monitors do at each call: `psutil.Process()` and torch's counters, in MB."""
    if torch.cuda.is_available():
        allocated, cached = torch.cuda.memory_allocated() / 1024**2, torch.cuda.memory_reserved() / 1024**2
    else:
        allocated, cached = 0.0, 0.0
    return {"cpu": psutil.Process().memory_info().rss / 1024**2, "gpu_allocated": allocated, "gpu_cached": cached}


def checkpoint() -> None:
    tg.checkpoint("after_forward")


def span() -> None:
    with SPAN:
        pass


def nothing() -> None:
    pass


def with_nothing() -> None:
    with NOTHING:
        pass


class Nothing:
    """The least that a context manager written in Python can be."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


NOTHING = Nothing()


def nanos(call: Callable[[], object], calls: int) -> float:
    """Of one call; the loop around it included."""
    began = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - began) / calls


def main() -> None:
    folder = tempfile.mkdtemp(prefix="tidegauge-bench-")
    measured: dict[str, list[float]] = {}
    fast, slow = 20_000, 500

    def measure(name: str, call: Callable[[], object], calls: int) -> None:
        measured.setdefault(name, []).append(nanos(call, calls))

    try:
        for number in range(ROUNDS):
            measure("an empty call", nothing, fast)
            measure("`with` of an empty Python class", with_nothing, fast)
            measure("by hand: psutil and torch's counters", by_hand, slow)
            measure("checkpoint, off", checkpoint, fast)
            measure("prebuilt span, off", span, fast)
            for counters in ("sampled", "fresh"):
                tg.start(f"{folder}/{counters}-{number}", counters=counters)
                measure(f"checkpoint, {counters}", checkpoint, fast)
                measure(f"prebuilt span, {counters}", span, fast)
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
