"""Monitors that need nothing but Python: moments, blocks, functions, a curve over time."""

from __future__ import annotations

from collections.abc import Iterator

import tidegauge as tg
from tidegauge.monitor import MemoryMonitor, MemoryProfiler, MemoryTracker, monitor_memory, track_memory


def moments() -> None:
    MemoryMonitor.print_memory_usage("At the beginning: ")
    data = bytearray(b"x" * (64 << 20))
    MemoryMonitor.print_memory_usage("With 64 MB of data: ")
    print(
        f"{MemoryMonitor.get_cpu_memory_mb():.1f} MB, of the GPU {MemoryMonitor.get_gpu_memory_mb():.1f} MB"
    )
    print(MemoryMonitor.get_memory_summary(), len(data))


def tracker() -> None:
    tracker = MemoryTracker()
    tracker.record("initialization")
    data = bytearray(b"x" * (48 << 20))
    tracker.record("after_data_loading")
    del data
    tracker.record("after_training")
    tracker.print_summary()


def blocks() -> None:
    with track_memory("loading dataset"):
        data = bytearray(b"x" * (32 << 20))
        with track_memory("augmenting it"):
            data = data + data


def functions() -> None:
    import asyncio

    @monitor_memory("training epoch")
    def train_epoch() -> bytes:
        return b"x" * (16 << 20)

    @monitor_memory("batches")
    def batches() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (8 << 20)

    @monitor_memory("loading in the background")
    async def load() -> bytes:
        return await asyncio.to_thread(lambda: b"x" * (24 << 20))

    epoch, kept, loaded = train_epoch(), list(batches()), asyncio.run(load())
    print(len(epoch) + sum(map(len, kept)) + len(loaded), "bytes are held")


def operation() -> None:
    profiler = MemoryProfiler()
    result, change = profiler.profile_operation(lambda: bytearray(b"x" * (40 << 20)), "Forty megabytes")
    print(len(result), sorted(change), sorted(profiler.baseline_memory))


def over_time() -> None:
    import tempfile
    import time

    monitor = MemoryMonitor(interval=0.01)
    monitor.start_monitoring()
    held = []
    for _ in range(20):
        held.append(bytearray(b"x" * (4 << 20)))
        time.sleep(0.02)
    monitor.stop_monitoring()
    monitor.plot_memory_usage(tempfile.gettempdir() + "/tidegauge-example.svg")
    print(len(monitor.memory_log), "readings in", round(monitor.time_log[-1], 1), "s")


def steps() -> None:
    remove = tg.on_step(lambda row: print(row["step"], row["loss"], row["seconds"] < 1, row["rss_bytes"] > 0))
    for number in range(3):
        with tg.step(number, batch_size=16) as step:
            step.loss = 1 / (number + 1)
    remove()
