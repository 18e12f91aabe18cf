"""`track_memory(name)`: what a block of code does to memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from . import trace
from .block_memory import BlockMemory
from .memory_reading import mb

Entry = tuple["TrackedMemory", BlockMemory, AbstractContextManager[Any]]

#: Blocks that this thread or asynchronous task is in, outermost first; each has its own, so that they cannot
#: mix.
_entered: ContextVar[tuple[Entry, ...]] = ContextVar("tidegauge_tracked_blocks", default=())


class TrackedMemory:
    """A context manager, and of use more than once: nested in itself, in several threads, in tasks.

    The differences of the block that ended last are its attributes, MB; None before.
    """

    def __init__(self, name: str, device: Any = None, print_output: bool = True) -> None:
        self.name = str(name)
        self.device = device
        self.print_output = print_output
        self.cpu_delta_mb: float | None = None
        self.gpu_delta_mb: float | None = None
        self.peak_gpu_mb: float | None = None
        self._open: list[Entry] = []

    def __enter__(self) -> TrackedMemory:
        span = trace.span(self.name)
        span.__enter__()
        block = BlockMemory(self.name, self.device)
        entry: Entry = (self, block, span)
        self._open.append(entry)
        _entered.set((*_entered.get(), entry))
        block.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered = _entered.get()
        mine = [entry for entry in entered if entry[0] is self]
        # A generator may be finished in another context than it was begun in; then it is the block begun
        # last.
        entry = mine[-1] if mine else self._open[-1]
        _entered.set(tuple(other for other in entered if other is not entry))
        self._open.remove(entry)
        _, block, span = entry
        block.end()
        span.__exit__(None, None, None)
        if block.cpu_delta_bytes is not None:
            self.cpu_delta_mb = mb(block.cpu_delta_bytes)
        self.gpu_delta_mb, self.peak_gpu_mb = mb(block.gpu_delta_bytes), mb(block.gpu_peak_bytes)
        if self.print_output:
            block.print()


def track_memory(name: str = "operation", device: Any = None, print_output: bool = True) -> TrackedMemory:
    """Tells by how much CPU and GPU memory change within a `with` block, and the GPU's peak in it.

        with track_memory("loading dataset"):
            dataset = load()

    prints `[Memory] loading dataset: CPU +450.2 MB, GPU +1250.5 MB` and `         Peak GPU: 1500.2 MB`, after
    an exception too, which passes through. Trackers nest: an inner one leaves an outer one its peak. The
    figures are of the process, whatever its other threads do meanwhile. In the trace the block is a span.
    """
    return TrackedMemory(name, device, print_output)
