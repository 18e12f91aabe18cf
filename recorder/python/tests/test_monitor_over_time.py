"""`MemoryMonitor` as an object: its thread, its logs, its statistics and its plot."""

from __future__ import annotations

import os
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import binaries, run_python
from fake_cuda import FakeCuda, cuda
from tidegauge.monitor import MemoryMonitor
from tidegauge.monitor.memory_plot import svg

__all__ = ["cuda"]

MB = 1024**2
SVG = "{http://www.w3.org/2000/svg}"


def wait_until(condition: Callable[[], bool]) -> None:
    """Fails after half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_it_follows_the_process(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monitor = MemoryMonitor(interval=0.01)
    assert (monitor.interval, monitor.monitoring, monitor.memory_log, monitor.time_log) == (
        0.01,
        False,
        [],
        [],
    )
    assert monitor.start_time is None
    begun = time.time()
    monitor.start_monitoring()
    assert monitor.monitoring and monitor.start_time == pytest.approx(begun, abs=1)
    assert monitor.monitor_thread is not None and monitor.monitor_thread.daemon
    wait_until(lambda: len(monitor.memory_log) >= 3)
    level = monitor.memory_log[-1]
    held = bytearray(b"x" * (80 * MB))
    seen = len(monitor.memory_log)
    wait_until(lambda: len(monitor.memory_log) >= seen + 3)
    monitor.stop_monitoring()
    assert not monitor.monitoring and not monitor.monitor_thread.is_alive()
    assert monitor.memory_log[-1] - level == pytest.approx(len(held) / MB, abs=4)
    assert monitor.memory_log[-1] == pytest.approx(MemoryMonitor.get_cpu_memory_mb(), abs=2)
    assert len(monitor.time_log) == len(monitor.memory_log)
    assert monitor.time_log == sorted(monitor.time_log) and 0 <= monitor.time_log[0] < 1
    log = monitor.memory_log
    path = tmp_path / "plot.svg"
    assert monitor.plot_memory_usage(path) == str(path)
    assert capsys.readouterr().out == (
        f"\nMemory Statistics:\n  Maximum: {max(log):.2f} MB\n  Average: {sum(log) / len(log):.2f} MB\n"
        f"  Final: {log[-1]:.2f} MB\n  Plot: {path}\n"
    )


def test_a_stop_is_immediate_and_reads_once_more() -> None:
    monitor = MemoryMonitor(interval=3600)
    monitor.start_monitoring()
    wait_until(lambda: len(monitor.memory_log) == 1)
    began = time.monotonic()
    monitor.stop_monitoring()
    assert time.monotonic() - began < 30
    assert len(monitor.memory_log) == 2


def test_stop_before_start_and_start_twice() -> None:
    monitor = MemoryMonitor(interval=0.005)
    monitor.stop_monitoring()
    assert monitor.memory_log == []
    monitor.start_monitoring()
    thread = monitor.monitor_thread
    monitor.start_monitoring()
    assert monitor.monitor_thread is thread
    assert [other.name for other in threading.enumerate()].count("tidegauge-monitor") == 1
    monitor.stop_monitoring()
    monitor.stop_monitoring()
    first = monitor.memory_log
    kept = list(first)
    monitor.start_monitoring()
    monitor.stop_monitoring()
    assert first == kept and monitor.memory_log is not first and monitor.time_log[0] < 1, "a log of its own"


def test_clearing_the_flag_ends_the_thread() -> None:
    monitor = MemoryMonitor(interval=0.001)
    monitor.start_monitoring()
    monitor.monitoring = False
    thread = monitor.monitor_thread
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()
    monitor.start_monitoring()
    assert monitor.monitor_thread is not thread
    monitor.stop_monitoring()


def test_a_reading_that_fails_is_left_out(cuda: FakeCuda) -> None:
    # A stand-in for a GPU whose counters fail for a while.
    cuda.alloc(5)
    calls = []

    def allocated(device: int | None = None) -> int:
        calls.append(1)
        if 3 < len(calls) < 10:
            raise RuntimeError("lost")
        return 5 * MB

    cuda.memory_allocated = allocated  # type: ignore[method-assign]
    monitor = MemoryMonitor(interval=0.001)
    monitor.start_monitoring()
    wait_until(lambda: len(calls) > 20)
    monitor.stop_monitoring()
    assert set(monitor.memory_log) == {5.0}, "neither 0 nor that of the host"
    assert len(monitor.memory_log) == len(monitor.time_log) == len(calls) - 6


def test_the_log_is_of_the_gpu_where_one_is_used(cuda: FakeCuda) -> None:
    # The GPU is a stand-in, first used while the log is being written.
    cuda.initialized = False
    monitor = MemoryMonitor(interval=0.001)
    monitor.start_monitoring()
    wait_until(lambda: len(monitor.memory_log) >= 3)
    assert monitor.memory_log[0] > 1
    cuda.alloc(12)
    cuda.initialized = True
    wait_until(lambda: monitor.memory_log[-1] == 12)
    cuda.alloc(5)
    monitor.stop_monitoring()
    assert set(monitor.memory_log) <= {0.0, 12.0, 17.0}, "of the GPU from its beginning"
    assert monitor.memory_log[0] == 0.0 and monitor.memory_log[-1] == 17.0


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1", None])
def test_an_interval_is_above_0(interval: object) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        MemoryMonitor(interval)  # type: ignore[arg-type]


def test_a_program_that_forgets_to_stop_ends() -> None:
    run_python(
        """
from tidegauge.monitor import MemoryMonitor
MemoryMonitor(interval=0.001).start_monitoring()
""",
        timeout=60,
    )


def test_a_forked_child_can_stop_what_its_parent_started() -> None:
    run_python(
        """
import os
from tidegauge.monitor import MemoryMonitor
monitor = MemoryMonitor(interval=0.001)
monitor.start_monitoring()
child = os.fork()
if child == 0:
    monitor.stop_monitoring()
    monitor.start_monitoring()
    monitor.stop_monitoring()
    os._exit(0 if len(monitor.memory_log) >= 1 else 1)
assert os.waitpid(child, 0)[1] == 0
monitor.stop_monitoring()
""",
        timeout=60,
    )


def test_without_readings_nothing_is_plotted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MemoryMonitor().plot_memory_usage() is None
    assert "no readings" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_plot_does_not_pass_for_another_kind_of_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = MemoryMonitor()
    monitor.time_log, monitor.memory_log = [0.0, 1.0], [10.0, 30.0]
    given = ["a.png", "b.PDF", "c.svg", "of.2024", "plain"]
    expected = ["a.svg", "b.svg", "c.svg", "of.2024", "plain"]
    assert [monitor.plot_memory_usage(path) for path in given] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(expected)
    assert "  Plot: a.svg\n" in capsys.readouterr().out


def test_a_plot_takes_a_free_name_or_says_that_it_cannot(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = MemoryMonitor()
    monitor.time_log, monitor.memory_log = [0.0, 1.0], [10.0, 30.0]
    assert [monitor.plot_memory_usage() for _ in range(3)] == [
        "memory_usage.svg",
        "memory_usage-2.svg",
        "memory_usage-3.svg",
    ]
    capsys.readouterr()
    assert monitor.plot_memory_usage("no/such/folder/x.svg") is None
    assert capsys.readouterr().out == (
        "\nMemory Statistics:\n  Maximum: 30.00 MB\n  Average: 20.00 MB\n  Final: 30.00 MB\n"
        "  Plot: could not be written\n"
    )


def test_the_plot_shows_the_readings() -> None:
    drawn = svg([(0.0, 100.0), (5.0, 400.0), (10.0, 200.0)], "Process <RSS>")
    root = ET.fromstring(drawn)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"Memory Usage Over Time", "Time (seconds)", "Memory Usage (MB)", "maximum 400.0 MB"} <= set(texts)
    assert texts[1] == (
        "Process <RSS>: maximum 400.00 MB at 5.00 s, average 233.33 MB, final 200.00 MB, 3 readings"
    )
    curve = root.find(f"{SVG}polyline")
    assert curve is not None
    points = [tuple(map(float, point.split(","))) for point in curve.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2), "time is to scale"
    assert (y0 - y1) / (y2 - y1) == pytest.approx(300 / 200, rel=0.01), "memory is to scale, and upwards"


@pytest.mark.parametrize(
    "readings",
    [
        [(0.0, 0.0)],
        [(0.0, 25.8)],
        [(0.0, 0.0), (0.0, 0.0)],
        [(0.0, 1645.1), (1.0, 1645.1)],
        [(0.0, 1e-9), (1e-6, 2e-9)],
        [(0.0, 1e7), (1e6, 3e7)],
        [(number / 10, float(number * 7919 % 1000)) for number in range(50_000)],
    ],
)
def test_any_readings_make_a_plot_within_its_frame(readings: list[tuple[float, float]]) -> None:
    drawn = svg(readings, "x")
    assert len(drawn) < 60_000, "as many points as can be seen"
    curve = ET.fromstring(drawn).find(f"{SVG}polyline")
    assert curve is not None
    for point in curve.attrib["points"].split():
        x, y = map(float, point.split(","))
        assert 88 <= x <= 936 and 72 <= y <= 412


def test_thinning_keeps_the_extremes() -> None:
    readings = [(number / 100, 50.0) for number in range(100_000)]
    readings[54_321] = (543.21, 99.0)
    readings[65_432] = (654.32, 1.0)
    curve = ET.fromstring(svg(readings, "x")).find(f"{SVG}polyline")
    assert curve is not None
    heights = {point.split(",")[1] for point in curve.attrib["points"].split()}
    assert len(heights) == 3


def test_with_a_trace_the_program_draws_it(run: Path, tmp_path: Path) -> None:
    script = """
import sys, tidegauge as tg
from tidegauge.monitor import MemoryMonitor
tg.start(sys.argv[1], interval=0.01)
monitor = MemoryMonitor(interval=0.005)
monitor.start_monitoring()
with tg.step(0), tg.span("forward"):
    tg.alloc(-1, 4096, 1 << 20)
    while len(monitor.memory_log) < 20:
        held = bytearray(1 << 20)
monitor.stop_monitoring()
print(monitor.plot_memory_usage(sys.argv[2]))
tg.stop()
"""
    path = tmp_path / "timeline.svg"
    done = run_python(script, str(run), str(path), PATH=f"{binaries()}{os.pathsep}{os.environ['PATH']}")
    assert done.stdout.splitlines()[-1] == str(path)
    assert "forward" in path.read_text(encoding="utf-8"), "the timeline of the trace, with its phases"
    other = tmp_path / "plain.svg"
    run_python(script, str(run), str(other), PATH="/nowhere")
    assert "Memory Usage Over Time" in other.read_text(encoding="utf-8")
