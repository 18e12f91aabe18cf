"""What the monitors print and return of one moment, against the kernel's own figures and the lines of
existing logs."""

from __future__ import annotations

import io
import os
import re
import sys

import psutil
import pytest
from conftest import run_python
from fake_cuda import FakeCuda, cuda
from tidegauge.monitor import BatchMemoryProfiler, MemoryMonitor, MemoryProfiler, MemoryTracker

__all__ = ["cuda"]

MB = 1024**2
USAGE = re.compile(r"CPU: (\d+\.\d) MB \| GPU Allocated: 0\.0 MB \| GPU Reserved: 0\.0 MB\n")


def rss_mb() -> float:
    """As /proc tells it."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def test_cpu_is_the_resident_memory_as_proc_and_psutil_tell_it() -> None:
    assert MemoryMonitor.get_cpu_memory_mb() == pytest.approx(rss_mb(), abs=2)
    assert MemoryMonitor.get_cpu_memory_mb() == pytest.approx(psutil.Process().memory_info().rss / MB, abs=2)


def test_a_figure_is_read_when_it_is_asked_for() -> None:
    before = MemoryMonitor.get_cpu_memory_mb()
    held = bytearray(b"x" * (64 * MB))
    assert MemoryMonitor.get_cpu_memory_mb() - before == pytest.approx(64, abs=3)
    assert len(held) == 64 * MB


@pytest.mark.parametrize(
    ("prefix", "printed"),
    [
        ("After model creation: ", "After model creation: "),
        ("After model creation:", "After model creation: "),
        ("After model creation", "After model creation: "),
        ("  Loss evaluation 0", "  Loss evaluation 0: "),
        ("at 12:30 : ", "at 12:30: "),
        ("", ""),
        (" : ", ""),
    ],
)
def test_the_line_of_a_moment(capsys: pytest.CaptureFixture[str], prefix: str, printed: str) -> None:
    MemoryMonitor.print_memory_usage(prefix)
    line = capsys.readouterr().out
    assert line.startswith(printed)
    match = USAGE.fullmatch(line.removeprefix(printed))
    assert match, line
    assert float(match[1]) == pytest.approx(rss_mb(), abs=2)


def test_without_a_gpu_its_figures_are_0_and_nothing_is_imported() -> None:
    run_python(
        """
import sys
from tidegauge.monitor import *
MemoryMonitor.print_memory_usage("x")
assert MemoryMonitor.get_gpu_memory_mb() == MemoryMonitor.get_gpu_memory_reserved_mb() == 0.0
assert set(MemoryMonitor.get_memory_summary()) == {
    "cpu_memory_mb", "gpu_memory_allocated_mb", "gpu_memory_reserved_mb"}
with track_memory("y"):
    pass
assert not {"torch", "numpy", "psutil", "matplotlib"} & set(sys.modules)
"""
    )


def test_cuda_is_asked_only_if_it_is_in_use() -> None:
    # A real torch: had CUDA been asked, its first call would have failed here or initialised it.
    run_python(
        """
import torch
from tidegauge.monitor import *
def refuse(*arguments):
    raise AssertionError("CUDA was asked")
for name in ("is_available", "init", "_lazy_init", "memory_allocated", "max_memory_allocated", "empty_cache",
             "reset_peak_memory_stats", "current_device", "device_count"):
    setattr(torch.cuda, name, refuse)
MemoryMonitor.print_memory_usage("x")
MemoryProfiler().profile_operation(lambda: torch.ones(10), "y")
with track_memory("z"):
    torch.ones(10)
monitor = EpochMemoryMonitor()
monitor.on_epoch_start()
monitor.on_batch_end(0, torch.ones(()))
monitor.on_epoch_end()
assert not torch.cuda.is_initialized()
"""
    )


def test_the_figures_of_a_gpu(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in: see fake_cuda.
    cuda.alloc(100)
    cuda.free(76.9)
    assert MemoryMonitor.get_gpu_memory_mb() == pytest.approx(23.1, abs=1e-6)
    MemoryMonitor.print_memory_usage("After model creation: ")
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"After model creation: CPU: \d+\.\d MB \| GPU Allocated: 23\.1 MB \| GPU Reserved: 100\.0 MB\n", line
    )
    summary = MemoryMonitor.get_memory_summary()
    assert summary["gpu_memory_free_mb"] == 80 * 1024 - 100
    assert summary["cpu_memory_mb"] == pytest.approx(rss_mb(), abs=2)


def test_a_device_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two GPUs, both stand-ins.
    import torch

    fake = FakeCuda(devices=2)
    monkeypatch.setattr(torch, "cuda", fake)
    fake.alloc(10, device=0)
    fake.alloc(20, device=1)
    assert [MemoryMonitor.get_gpu_memory_mb(device) for device in (None, 0, 1)] == [10, 10, 20]
    assert (
        MemoryMonitor.get_gpu_memory_mb("cuda:1")
        == MemoryMonitor.get_gpu_memory_mb(torch.device("cuda", 1))
        == 20
    )
    fake.device = 1
    assert MemoryMonitor.get_gpu_memory_mb() == 20


def test_the_parts_of_a_batch(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The figures of the guide's example; the GPU is a stand-in.
    profiler = BatchMemoryProfiler(enabled=True)
    cuda.alloc(10.1)
    profiler.checkpoint("start")
    cuda.alloc(19.0)
    profiler.checkpoint("data_to_gpu")
    cuda.alloc(2720.8)
    profiler.checkpoint("forward")
    cuda.free(2726.8)
    profiler.checkpoint("backward")
    profiler.checkpoint("optimizer")
    profiler.print_summary()
    assert capsys.readouterr().out == (
        "    Memory profile:\n"
        "      start → data_to_gpu: GPU 29.1 MB (+19.0 MB)\n"
        "      data_to_gpu → forward: GPU 2749.9 MB (+2720.8 MB)\n"
        "      forward → backward: GPU 23.1 MB (-2726.8 MB)\n"
        "      backward → optimizer: GPU 23.1 MB (+0.0 MB)\n"
    )
    profiler.reset()
    profiler.print_summary()
    assert capsys.readouterr().out == ""
    cuda.alloc(1)
    profiler.checkpoint("data_loaded")
    profiler.print_summary()
    assert capsys.readouterr().out == (
        "    Memory profile:\n      start → data_loaded: GPU 24.1 MB (+1.0 MB)\n"
    ), "without a checkpoint `start` the step begins at the reset"


def test_a_disabled_profiler_is_silent_until_it_is_enabled(
    cuda: FakeCuda, capsys: pytest.CaptureFixture[str]
) -> None:
    # The GPU is a stand-in.
    profiler = BatchMemoryProfiler(enabled=False)
    cuda.alloc(5)
    profiler.checkpoint("forward")
    profiler.print_summary()
    assert profiler.checkpoints == [] and capsys.readouterr().out == ""
    profiler.enable()
    cuda.alloc(1)
    profiler.checkpoint("forward")
    assert [(part["from"], part["label"], part["gpu_delta"]) for part in profiler.checkpoints] == [
        ("start", "forward", 1.0)
    ]
    profiler.disable()
    profiler.print_summary()
    assert capsys.readouterr().out == ""


def test_an_operation_is_profiled(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in; the host's memory is the real one.
    cuda.alloc(50)
    cuda.free(10)
    profiler = MemoryProfiler()
    assert profiler.baseline_memory == {
        "cpu": pytest.approx(rss_mb(), abs=2),
        "gpu_allocated": 40,
        "gpu_cached": 50,
    }

    def operation() -> bytearray:
        cuda.alloc(100)
        cuda.free(90)
        return bytearray(b"x" * (40 * MB))

    before = rss_mb()
    result, change = profiler.profile_operation(operation, "SKLinear Forward Pass")
    assert len(result) == 40 * MB and cuda.emptied == 1
    assert change == {
        "cpu": pytest.approx(rss_mb() - before, abs=2),
        "gpu_allocated": 10,
        "gpu_cached": 100,  # The reserve of 10 had been given back first: 40 before, 140 after.
    }
    assert change["cpu"] == pytest.approx(40, abs=3)
    assert capsys.readouterr().out == (
        f"\nSKLinear Forward Pass Memory Usage:\n  CPU: {change['cpu']:+.2f} MB\n"
        "  GPU Allocated: +10.00 MB\n  GPU Cached: +100.00 MB\n"
    )


def test_an_operation_that_fails_fails_for_the_caller() -> None:
    error = KeyError("mine")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        MemoryProfiler().profile_operation(fail)
    assert caught.value is error


def test_moments_are_tabled(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in.
    tracker = MemoryTracker()
    tracker.print_summary()
    assert capsys.readouterr().out == "No memory records available\n"
    tracker.record("initialization")
    cuda.alloc(12.5)
    held = bytearray(b"x" * (32 * MB))
    tracker.record("after_data_loading")
    cuda.free(2.5)
    tracker.record("end")
    assert [record["label"] for record in tracker.records] == ["initialization", "after_data_loading", "end"]
    assert [record["gpu_memory_allocated_mb"] for record in tracker.records] == [0, 12.5, 10]
    first, second, third = (record["cpu_memory_mb"] for record in tracker.records)
    assert second - first == pytest.approx(len(held) / MB, abs=3)
    tracker.print_summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Memory Usage Summary")
    assert lines[2].split() == ["Label", "CPU", "(MB)", "GPU", "Alloc", "(MB)", "GPU", "Reserved", "(MB)"]
    assert len(lines[2]) == len(lines[3]) and set(lines[3]) == {"-"}
    cpu = [f"{first:.1f}", f"{second:.1f} ({second - first:+.1f})", f"{third:.1f} ({third - second:+.1f})"]
    assert " ".join(lines[4].split()) == f"initialization {cpu[0]} 0.0 0.0"
    assert " ".join(lines[5].split()) == f"after_data_loading {cpu[1]} 12.5 (+12.5) 12.5 (+12.5)"
    assert " ".join(lines[6].split()) == f"end {cpu[2]} 10.0 (-2.5) 12.5 (+0.0)"
    assert tracker.get_peak_memory() == {"cpu_peak_mb": max(first, second, third), "gpu_peak_mb": 12.5}
    tracker.clear()
    assert tracker.records == [] and tracker.get_peak_memory() == {"cpu_peak_mb": 0.0, "gpu_peak_mb": 0.0}


def test_counters_that_fail_leave_the_cpu(cuda: FakeCuda) -> None:
    # A pluggable allocator does not count; its stand-in raises as it does.
    def not_counted(device: int | None = None) -> int:
        raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats")

    cuda.memory_allocated = cuda.max_memory_allocated = not_counted  # type: ignore[method-assign]
    assert MemoryMonitor.get_gpu_memory_mb() == 0.0
    assert MemoryMonitor.get_cpu_memory_mb() == pytest.approx(rss_mb(), abs=2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_the_arrow_gets_an_escape(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    profiler = BatchMemoryProfiler()
    profiler.checkpoint("forward")
    profiler.print_summary()
    arrow = "→" if encoding == "utf-8" else "\\u2192"
    assert f"      start {arrow} forward: GPU 0.0 MB (+0.0 MB)\n" in written.getvalue().decode(encoding)


def test_a_broken_standard_output_does_not_reach_the_training() -> None:
    run_python(
        """
import os, sys
from tidegauge.monitor import *
sys.stdout = open("/dev/full", "w", buffering=1)
MemoryMonitor.print_memory_usage("full")
read, write = os.pipe()
os.close(read)
sys.stdout = os.fdopen(write, "w", buffering=1)
MemoryMonitor.print_memory_usage("no reader")
class Closed:
    def write(self, text):
        raise ValueError("I/O operation on closed file")
sys.stdout = Closed()
with track_memory("closed"):
    pass
class Strange:
    encoding = None
    def write(self, text):
        raise RuntimeError("a notebook's output that is gone")
sys.stdout = Strange()
EpochMemoryMonitor(enabled=True).on_batch_end(0, 1.0)
sys.stdout = None
MemoryMonitor.print_memory_usage("none")
os._exit(0)
"""
    )
