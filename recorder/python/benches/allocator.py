"""What following torch's CPU allocator costs: `python benches/allocator.py`, on a machine that does nothing else.

Off, on without a recording, and recording take turns, so that what the machine does meanwhile falls on all of
them. The thread's own time is counted, not that of other processes on its core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from tidegauge import _native
from tidegauge.pytorch.extension import AllocatorExtension

BLOCKS = 20_000
STEPS = 20
TURNS = 21


def allocate() -> float:
    """Nanoseconds for a torch.empty(1024) and its end."""
    empty = torch.empty
    started = time.thread_time_ns()
    for _ in range(BLOCKS):
        empty(1024)
    return (time.thread_time_ns() - started) / BLOCKS


def trainer(compiled: bool) -> Callable[[], float]:
    """Microseconds for a step of a small model."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256), torch.nn.LayerNorm(256)
    )
    optimizer = torch.optim.Adam(model.parameters())
    called = torch.compile(model) if compiled else model
    batch = torch.randn(64, 256)

    def train() -> float:
        started = time.thread_time_ns()
        for _ in range(STEPS):
            called(batch).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return (time.thread_time_ns() - started) / STEPS / 1000

    train()
    return train


def compare(what: str, unit: str, measure: Callable[[], float], extension: AllocatorExtension) -> None:
    functions = _native.functions()
    found: dict[str, list[float]] = {"off": [], "no recording": [], "recording": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for turn in range(TURNS):
            extension.uninstall_cpu()
            found["off"].append(measure())
            extension.install_cpu(functions)
            found["no recording"].append(measure())
            _native.start(f"{folder}/{turn}")
            found["recording"].append(measure())
            _native.stop()
            extension.uninstall_cpu()
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, median in medians.items():
        more, times = median - medians["off"], median / medians["off"]
        print(f"{what:32} {name:14} {median:10.1f} {unit} {more:+9.1f} x {times:.3f}")


def main() -> None:
    torch.set_num_threads(1)
    started = time.monotonic()
    extension = AllocatorExtension()
    extension.load()
    print(f"loaded in {time.monotonic() - started:.2f} s")
    allocate()
    compare("torch.empty(1024) and its free", "ns", allocate, extension)
    compare("a step", "µs", trainer(compiled=False), extension)
    compare("a step of a compiled model", "µs", trainer(compiled=True), extension)


if __name__ == "__main__":
    main()
