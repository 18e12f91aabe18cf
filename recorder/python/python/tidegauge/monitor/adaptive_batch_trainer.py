"""`AdaptiveBatchTrainer`: trains with the largest batches that fit into a budget."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from . import trace
from .batch_search import largest_passing
from .batch_source import BatchSource
from .cuda import release_cached_memory
from .host_peak import HostPeak, available_bytes, return_free_memory
from .lines import print_line
from .memory_reading import MB, MemoryReading
from .out_of_memory import is_out_of_memory
from .peak_window import PeakWindow
from .placement import cuda_devices_of, device_of, map_tensors
from .training_state import TrainingState

#: Batches between two lines.
_PRINTED_EVERY = 10
#: A batch is not tried if it is expected to need more than this part of what the node could give.
_SAFE_PART = 0.9


class AdaptiveBatchTrainer:
    """Before each epoch tries steps with batches of several sizes, then trains with the largest that fits.

    A batch fits if the peak of a whole step with it, `optimizer.step()` included, is within `max_memory_mb`
    (bytes / 1024²): of what PyTorch's allocator holds on the fullest of the model's GPUs, or, for a model on
    the CPU, of the resident memory of the process. Trials leave no trace in the training: parameters,
    buffers, gradients, the optimizer and the random generators are put back, and running out of memory is an
    answer. A trial is a step nevertheless for whoever watches steps: hooks of the model and of the optimizer
    are called in it. A lazy model is initialised by the first trial, and its weights are put back to what
    that gave it.

    Of the sizes that fit one is taken that leaves no last batch of one sample, which batch normalisation
    refuses, unless the loader's own size leaves one as well; that may be below `min_batch_size`.

    `current_batch_size` is where the search begins and what it has found; `min_batch_size` and
    `max_batch_size` may be changed. The loader yields `(x, y)`; the rest of its settings, its order included,
    is kept.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        max_memory_mb: float = 8000,
        loss_function: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        """`loss_function(output, y)` is `torch.nn.functional.cross_entropy` if it is not given."""
        self.model = model
        self.optimizer = optimizer
        self.max_memory_mb = max_memory_mb
        self.loss_function = loss_function
        self.current_batch_size = 32
        self.min_batch_size = 8
        self.max_batch_size = 512
        self._source: BatchSource | None = None
        self._steps = 0
        #: Batch size and peak of this epoch's trials on the CPU.
        self._host_peaks: list[tuple[int, int]] = []

    def train_epoch(self, data_loader: Any) -> float:
        """Trains for one epoch and returns the mean of the batches' losses, NaN if there are no batches.

        Prints `Using batch size: 64`, and of every tenth batch `Batch 0, Loss: 2.3026, Memory: 812.4 MB`. If
        no size fits, `min_batch_size` is taken, with a line that says so. Raises TypeError for what is no
        `torch.utils.data.DataLoader`, and for one whose batch size cannot be chosen; see `BatchSource`.
        """
        if self._source is None or self._source.loader is not data_loader:
            self._source = BatchSource(data_loader)
        self.current_batch_size = self._find_optimal_batch_size(self._source)
        loader = self._source.loader_of(self.current_batch_size)
        print_line(f"Using batch size: {self.current_batch_size}")
        total: Any = 0.0
        batches = 0
        for batches, batch in enumerate(loader, start=1):
            with trace.step(self._steps) as step:
                loss, step.batch_size = self._train_on(batch)
                step.loss = loss
            self._steps += 1
            # Summed where it lies: reading each loss would wait for the device each time.
            total = total + (loss.double() if loss.device.type != "mps" else loss)
            if (batches - 1) % _PRINTED_EVERY == 0:
                memory = f"Memory: {self._memory_mb():.1f} MB"
                print_line(f"Batch {batches - 1}, Loss: {float(loss):.4f}, {memory}")
        return float(total) / batches if batches else float("nan")

    def _find_optimal_batch_size(self, source: BatchSource) -> int:
        high = source.largest(self.max_batch_size)
        low = min(self.min_batch_size, high)
        if high < 1:
            return self.current_batch_size
        self._host_peaks = []
        state = TrainingState(self.model, self.optimizer)
        # Not before each trial: it takes a good part of a second in a large program.
        gc.collect()
        self._return_memory()
        try:
            found = largest_passing(
                lambda size: self._fits(source, state, size), self.current_batch_size, low, high
            )
        finally:
            state.restore()
            state.close()
        if found is None:
            print_line(f"No batch size from {low} to {high} fits {self.max_memory_mb} MB: using the smallest")
        return source.without_single_rest(low if found is None else found)

    def _fits(self, source: BatchSource, state: TrainingState, size: int) -> bool:
        if self._would_exhaust_host(size):
            return False
        state.drop_gradients()
        try:
            with trace.span("batch size trial"):
                peak_bytes = self._peak_of_step(source, size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            # The exception is gone here, and with it what its frames held.
            self._return_memory()
            state.restore()
        return peak_bytes is None or peak_bytes <= self.max_memory_mb * MB

    def _peak_of_step(self, source: BatchSource, size: int) -> int | None:
        devices = cuda_devices_of(self.model)
        if devices:
            windows = [PeakWindow(device) for device in devices]
            try:
                self._train_on(source.batch(size))
            finally:
                peaks = [peak for peak in (window.close() for window in windows) if peak is not None]
            return max(peaks, default=None)
        with HostPeak() as host:
            self._train_on(source.batch(size))
        if host.peak_bytes is not None:
            self._host_peaks.append((size, host.peak_bytes))
        return host.peak_bytes

    def _would_exhaust_host(self, size: int) -> bool:
        """Whether a trial would end with the kernel killing the process, going by the two largest so far."""
        if len(self._host_peaks) < 2:
            return False
        (smaller, lower_bytes), (larger, higher_bytes) = sorted(self._host_peaks)[-2:]
        resident_bytes, spare_bytes = MemoryReading.now().cpu_bytes, available_bytes()
        if size <= larger or larger == smaller or resident_bytes is None or spare_bytes is None:
            return False
        each_bytes = max(higher_bytes - lower_bytes, 0) / (larger - smaller)
        return higher_bytes + each_bytes * (size - larger) - resident_bytes > _SAFE_PART * spare_bytes

    def _train_on(self, batch: Any) -> tuple[Any, int | None]:
        """A step; returns the loss, detached, and how many samples it was of, if that can be told."""
        import torch

        try:
            x, y = batch
        except (TypeError, ValueError):
            raise TypeError(f"the loader must yield (x, y), not {type(batch).__name__}") from None
        device = device_of(self.model)
        with trace.span("data"):
            x, y = (map_tensors(lambda part: part.to(device, non_blocking=True), part) for part in (x, y))
        with trace.span("zero_grad"):
            self.optimizer.zero_grad()
        with trace.span("forward"):
            output = self.model(x)
            if isinstance(output, torch.Tensor) and isinstance(y, torch.Tensor):
                # The last layers of a model that is spread over devices may lie on another than the first.
                y = y.to(output.device, non_blocking=True)
            loss = (self.loss_function or torch.nn.functional.cross_entropy)(output, y)
        with trace.span("backward"):
            loss.backward()
        with trace.span("optimizer"):
            self.optimizer.step()
        return loss.detach(), len(output) if isinstance(output, torch.Tensor) and output.dim() else None

    def _memory_mb(self) -> float:
        """What is judged by the budget, now."""
        devices = cuda_devices_of(self.model)
        if not devices:
            return MemoryReading.now().cpu_mb
        return max(MemoryReading.now(device).gpu_allocated_mb for device in devices)

    def _return_memory(self) -> None:
        """Gives back what trials left, so that it does not count against the next one."""
        release_cached_memory()
        if not cuda_devices_of(self.model):
            return_free_memory()
