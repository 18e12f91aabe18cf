"""`track_memory` and `@monitor_memory`: differences, peaks, nesting, and every kind of function."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fake_cuda import FakeCuda, cuda
from tidegauge.monitor import EpochMemoryMonitor, monitor_memory, track_memory

__all__ = ["cuda"]

MB = 1024**2
CHANGE = re.compile(r"\[Memory\] (.*): CPU ([+-]\d+\.\d) MB, GPU ([+-]\d+\.\d) MB")
PEAK = re.compile(r"         Peak GPU: (\d+\.\d) MB")


def reports(text: str) -> list[tuple[str, float, float, float]]:
    """Name, CPU Δ, GPU Δ and peak of each pair of lines; there may be no other lines."""
    lines = text.splitlines()
    found = []
    for change, peak in zip(lines[::2], lines[1::2], strict=True):
        parts, highest = CHANGE.fullmatch(change), PEAK.fullmatch(peak)
        assert parts and highest, (change, peak)
        found.append((parts[1], float(parts[2]), float(parts[3]), float(highest[1])))
    return found


def test_the_lines_of_a_block(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The figures of the guide's example on a stand-in for the GPU; the host's memory is the real one.
    with track_memory("loading dataset") as tracked:
        held = bytearray(b"x" * (45 * MB))
        cuda.alloc(1500.2)
        cuda.free(249.7)
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"\[Memory\] loading dataset: CPU \+4\d\.\d MB, GPU \+1250\.5 MB\n         Peak GPU: 1500\.2 MB\n",
        printed,
    ), printed
    assert tracked.cpu_delta_mb == pytest.approx(len(held) / MB, abs=3)
    assert tracked.gpu_delta_mb == pytest.approx(1250.5, abs=1e-5)
    assert tracked.peak_gpu_mb == pytest.approx(1500.2, abs=1e-5)


def test_without_a_gpu_the_figures_are_0(capsys: pytest.CaptureFixture[str]) -> None:
    with track_memory("x"):
        pass
    (name, _, gpu, peak), *others = reports(capsys.readouterr().out)
    assert (name, gpu, peak, others) == ("x", 0.0, 0.0, [])


def test_an_inner_tracker_leaves_the_outer_one_its_peak(
    cuda: FakeCuda, capsys: pytest.CaptureFixture[str]
) -> None:
    # The GPU is a stand-in that has, as the real one, a single peak, which every reset begins anew.
    monitor = EpochMemoryMonitor(enabled=True, verbose_batches=0)
    monitor.on_epoch_start()
    with track_memory("outer"):
        cuda.alloc(500)
        cuda.free(490)
        with track_memory("first"):
            cuda.alloc(20)
            cuda.free(20)
        with track_memory("second"):
            cuda.alloc(70)
            with track_memory("innermost"):
                pass
            cuda.free(70)
    monitor.on_epoch_end()
    enabled, *lines = capsys.readouterr().out.splitlines()
    assert enabled == "Memory monitoring enabled (verbose for first 0 batches)"
    peaks = {name: peak for name, _, _, peak in reports("\n".join(lines[:-1]))}
    assert peaks == {"first": 30.0, "innermost": 80.0, "second": 80.0, "outer": 500.0}
    assert lines[-1] == "  Epoch end: GPU 10.0 MB allocated, 500.0 MB reserved, peak 500.0 MB"


def test_a_peak_before_an_inner_tracker_of_another_thread_counts(cuda: FakeCuda) -> None:
    # The GPU is a stand-in.
    with track_memory("outer", print_output=False) as outer:
        cuda.alloc(90)
        cuda.free(90)
        thread = threading.Thread(target=lambda: track_memory("inner", print_output=False).__enter__())
        thread.start()
        thread.join()
        cuda.alloc(5)
    assert outer.peak_gpu_mb == 90


def test_cuda_that_is_first_used_within_a_block(cuda: FakeCuda) -> None:
    # The GPU is a stand-in.
    cuda.initialized = False
    with track_memory("first use", print_output=False) as tracked:
        cuda.initialized = True
        cuda.alloc(30)
        cuda.free(10)
    assert (tracked.gpu_delta_mb, tracked.peak_gpu_mb) == (20, 30)


def test_one_tracker_can_be_entered_again_within_itself(cuda: FakeCuda) -> None:
    # The GPU is a stand-in.
    tracker = track_memory("again", print_output=False)
    with tracker:
        cuda.alloc(3)
        with tracker:
            cuda.alloc(4)
        assert tracker.gpu_delta_mb == 4
        cuda.alloc(5)
    assert tracker.gpu_delta_mb == 12
    with tracker:
        pass
    assert tracker.gpu_delta_mb == 0


def test_one_tracker_serves_several_threads_and_tasks(cuda: FakeCuda) -> None:
    # The GPU is a stand-in. The blocks overlap without being nested: first in, first out.
    tracker = track_memory("shared", print_output=False)
    changes: list[float | None] = []

    async def first(entered: asyncio.Event, leave: asyncio.Event) -> None:
        with tracker:
            cuda.alloc(1)
            entered.set()
            await leave.wait()
        changes.append(tracker.gpu_delta_mb)

    async def both() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(first(entered, leave))
        await entered.wait()
        with tracker:
            cuda.alloc(10)
            leave.set()
            await task
            cuda.alloc(100)
        changes.append(tracker.gpu_delta_mb)

    asyncio.run(both())
    assert changes == [11, 110]


def test_a_block_that_is_left_in_another_context(cuda: FakeCuda) -> None:
    # The GPU is a stand-in. Web frameworks run the halves of a generator in different contexts.
    tracker = track_memory("x", print_output=False)

    def halves() -> Iterator[None]:
        with tracker:
            cuda.alloc(6)
            yield

    generator = halves()
    contextvars.copy_context().run(next, generator)
    contextvars.copy_context().run(lambda: list(generator))
    assert tracker.gpu_delta_mb == 6


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_exceptions_pass_through_a_block(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught:
        with track_memory("failing"):
            raise error
    assert caught.value is error and error.__cause__ is None and error.__context__ is None
    assert [name for name, *_ in reports(capsys.readouterr().out)] == ["failing"]


def test_a_function_is_decorated(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in; figures of the guide's example.
    @monitor_memory("training epoch")
    def train_epoch(batches: int, *, rate: float = 0.1) -> float:
        """Trains."""
        cuda.alloc(2880.3)
        cuda.free(379.5)
        return batches * rate

    assert train_epoch(10, rate=0.5) == 5.0
    assert train_epoch.__name__ == "train_epoch" and train_epoch.__doc__ == "Trains."
    assert list(inspect.signature(train_epoch).parameters) == ["batches", "rate"]
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[Memory\] training epoch: CPU [+-]\d+\.\d MB, GPU \+2500\.8 MB", lines[0])
    assert lines[1:] == ["         Peak GPU: 2880.3 MB"]


def test_the_names_that_a_decorator_gives(capsys: pytest.CaptureFixture[str]) -> None:
    class Trainer:
        @monitor_memory()
        def epoch(self) -> None: ...

        @classmethod
        @monitor_memory
        def load(cls) -> type:
            return cls

        @staticmethod
        @monitor_memory("given")
        def evaluate() -> None: ...

    Trainer().epoch()
    assert Trainer.load() is Trainer
    Trainer.evaluate()
    monitor_memory("silent", verbose=False)(lambda: None)()
    assert [name for name, *_ in reports(capsys.readouterr().out)] == ["epoch", "load", "given"]
    with pytest.raises(TypeError, match="classmethod"):
        monitor_memory("x")(classmethod(lambda cls: None))  # type: ignore[arg-type]


def test_recursion_reports_each_call(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in.
    @monitor_memory("depth")
    def descend(depth: int) -> None:
        cuda.alloc(1)
        if depth:
            descend(depth - 1)

    descend(2)
    assert [gpu for _, _, gpu, _ in reports(capsys.readouterr().out)] == [1.0, 2.0, 3.0]


def test_a_generator_is_told_of_its_own_stretches_only(
    cuda: FakeCuda, capsys: pytest.CaptureFixture[str]
) -> None:
    # The GPU is a stand-in.
    @monitor_memory("batches")
    def batches() -> Iterator[int]:
        for number in range(3):
            cuda.alloc(10)
            yield number

    assert inspect.isgeneratorfunction(batches)
    for _ in batches():
        cuda.alloc(1000)
        cuda.free(900)
    # The peak is that of the last stretch, which only ends the generator; those of the consumer are higher.
    assert [report[2:] for report in reports(capsys.readouterr().out)] == [(30.0, 330.0)]
    assert cuda.allocated == [330 * MB] and cuda.reserved == [1230 * MB]


def echo() -> Any:
    """A generator whose every way in and out is used."""
    received: list[Any] = []
    while True:
        try:
            received.append((yield len(received)))
        except ValueError as error:
            received.append(str(error))
        if received[-1] == "stop":
            return received
        if received[-1] == "fail":
            raise KeyError("from within")


def play(generator: Any) -> list[Any]:
    """What an `echo` answers to being sent to, thrown at and stopped."""
    answers = [
        next(generator),
        generator.send("a"),
        generator.throw(ValueError("thrown")),
        generator.send(None),
    ]
    with pytest.raises(StopIteration) as stopped:
        generator.send("stop")
    return [*answers, stopped.value.value]


def test_a_decorated_generator_behaves_as_it_would() -> None:
    decorated: Callable[[], Any] = monitor_memory("echo", verbose=False)(echo)
    assert play(decorated()) == play(echo()) == [0, 1, 2, 3, ["a", "thrown", None, "stop"]]
    for make in (echo, decorated):
        failing = make()
        next(failing)
        with pytest.raises(KeyError, match="from within"):
            failing.send("fail")
        thrown = OSError("not caught inside")
        other = make()
        next(other)
        with pytest.raises(OSError) as caught:
            other.throw(thrown)
        assert caught.value is thrown


def test_a_generator_that_is_dropped_is_closed_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    ended = []

    @monitor_memory("dropped")
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    generator = endless()
    next(generator)
    generator.close()
    assert ended == [True]
    assert [name for name, *_ in reports(capsys.readouterr().out)] == ["dropped"]


def test_an_asynchronous_function(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in. Two calls run at the same time.
    @monitor_memory("load")
    async def load(mb: int) -> int:
        await asyncio.sleep(0)
        cuda.alloc(mb)
        await asyncio.sleep(0)
        if mb == 3:
            raise LookupError("mine")
        return mb

    async def main() -> list[Any]:
        return await asyncio.gather(load(1), load(2), load(3), return_exceptions=True)

    assert inspect.iscoroutinefunction(load)
    one, two, error = asyncio.run(main())
    assert (one, two) == (1, 2) and isinstance(error, LookupError)
    found = reports(capsys.readouterr().out)
    assert [(name, gpu) for name, _, gpu, _ in found] == [("load", 6.0)] * 3


def test_a_cancelled_task_is_cancelled_inside_too() -> None:
    seen = []

    @monitor_memory("waiting", verbose=False)
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("inside")
            raise

    async def main() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["inside"]


def test_an_asynchronous_generator(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU is a stand-in.
    closed = []

    @monitor_memory("stream")
    async def stream() -> AsyncIterator[Any]:
        try:
            sent: Any = None
            for number in range(3):
                await asyncio.sleep(0)
                cuda.alloc(7)
                try:
                    sent = yield (number, sent)
                except ValueError as error:
                    sent = str(error)
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> list[Any]:
        whole = []
        async for item in stream():
            cuda.alloc(100)
            whole.append(item)
        talking: Any = stream()
        whole.append(await talking.asend(None))
        whole.append(await talking.asend("hello"))
        whole.append(await talking.athrow(ValueError("thrown")))
        await talking.aclose()
        return whole

    assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(main()) == [
        (0, None),
        (1, None),
        (2, None),
        (0, None),
        (1, "hello"),
        (2, "thrown"),
    ]
    assert closed == [True, True]
    assert [(name, gpu) for name, _, gpu, _ in reports(capsys.readouterr().out)] == [("stream", 21.0)] * 2


def test_a_compiled_function_can_contain_trackers() -> None:
    import torch

    @monitor_memory("forward", verbose=False)
    def forward(x: torch.Tensor) -> torch.Tensor:
        with track_memory("inside", print_output=False):
            return x * 2 + 1

    compiled = torch.compile(forward, backend="eager")
    for number in range(3):
        assert compiled(torch.tensor(float(number))).item() == 2 * number + 1
