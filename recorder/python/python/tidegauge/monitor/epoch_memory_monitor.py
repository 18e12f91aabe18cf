"""`EpochMemoryMonitor`: three calls in a training loop, or one in a loss function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from . import trace
from .configuration import monitoring_options
from .lines import print_line
from .loss import loss_text, loss_value
from .loss_evaluations import LossEvaluations
from .memory_reading import MemoryReading, mb
from .numbering import number_or
from .peak_window import PeakWindow

if TYPE_CHECKING:
    from .monitored_loss import MonitoredLoss


class EpochMemoryMonitor:
    """Prints memory at the end of the first batches of each epoch, and the peak at the end of each.

        monitor = EpochMemoryMonitor(enabled=True, verbose_batches=5)
        for epoch in range(epochs):
            monitor.on_epoch_start()
            for i, batch in enumerate(loader):
                ...
                monitor.on_batch_end(i, loss)
            monitor.on_epoch_end()

    Disabled, every call returns at once. In the trace an epoch is an epoch (numbered from 0), the end of a
    batch a mark `batch` and a counter `loss`, if that is known. Steps are for `tidegauge.step` or
    `tidegauge.attach` to record: the monitor is told of ends only, and a step that it began after each batch
    would be one too many after the last.
    """

    #: After the first evaluations of an optimization there is a line each so many seconds.
    progress_seconds = 10.0

    def __init__(self, enabled: bool = True, verbose_batches: int = 5, device: Any = None) -> None:
        """`verbose_batches` batches (or evaluations of the loss) are printed; `device` is the CUDA device,
        None the one that is current at each moment."""
        self.enabled = enabled
        self.verbose_batches = verbose_batches
        self.device = device
        self._epochs = 0
        self._batches = 0
        self._epoch: AbstractContextManager[Any] | None = None
        self._window: PeakWindow | None = None
        self._evaluations: LossEvaluations | None = None
        if enabled:
            print_line(f"Memory monitoring enabled (verbose for first {verbose_batches} batches)")

    @classmethod
    def from_config(cls, config: Any, device: Any = None) -> EpochMemoryMonitor:
        """By `enable_memory_monitoring` (off if missing) and `memory_monitor_batches` (5) of a configuration.

        `config` holds these keys itself or under `trainer_params`; it is a mapping, an OmegaConf object, a
        dataclass or another object with these attributes. Raises ValueError for values that are neither on
        nor off, or no number of batches. Switched off, the monitor costs nothing.
        """
        enabled, batches = monitoring_options(config)
        return cls(enabled, batches, device)

    def on_epoch_start(self) -> None:
        """An epoch begins, or an optimization by a black box."""
        if not self.enabled:
            return
        self._end_epoch()
        self._batches = 0
        self._evaluations = None
        self._window = PeakWindow(self.device)
        self._epoch = trace.epoch(self._epochs)
        self._epoch.__enter__()
        self._epochs += 1

    def on_batch_end(self, batch_idx: int, loss: Any = None) -> None:
        """Batch `batch_idx` of the epoch, counted from 0, has ended with `loss`: a number, a tensor, or None.

        Prints `  Batch 0: GPU 23.1 MB, CPU 1645.1 MB, loss=0.014553` for the first batches. Only then is a
        loss on a GPU waited for. A `batch_idx` that is no number is replaced by how many batches have ended
        before in the epoch.
        """
        if not self.enabled:
            return
        number = number_or(batch_idx, self._batches)
        self._batches += 1
        if self._window is None:
            self._window = PeakWindow(self.device)
        is_printed = number < self.verbose_batches
        if not (is_printed or trace.is_open()):
            return
        reading = MemoryReading.now(self.device)
        trace.mark("batch", reading)
        trace.value("loss", loss_value(loss, may_wait=is_printed))
        if is_printed:
            ending = "" if loss is None else f", loss={loss_text(loss)}"
            held = f"GPU {reading.gpu_allocated_mb:.1f} MB, CPU {reading.cpu_mb:.1f} MB"
            print_line(f"  Batch {number}: {held}{ending}")

    def on_epoch_end(self) -> None:
        """The epoch has ended: `  Epoch end: GPU 23.1 MB allocated, 3242.0 MB reserved, peak 2880.3 MB`.

        After evaluations of a loss and no batches it is the end of an optimization; see
        `on_optimization_end`.
        """
        if not self.enabled:
            return
        if self._evaluations is not None:
            self.on_optimization_end()
        if self._window is not None:
            reading, peak_bytes = MemoryReading.now(self.device), self._window.close()
            self._window = None
            trace.memory(reading, peak_bytes)
            print_line(
                f"  Epoch end: GPU {reading.gpu_allocated_mb:.1f} MB allocated, "
                f"{reading.gpu_reserved_mb:.1f} MB reserved, peak {mb(peak_bytes):.1f} MB"
            )
        self._end_epoch()

    def on_optimization_start(self) -> None:
        """An optimization by a black box begins; the first evaluation does it too."""
        if not self.enabled:
            return
        if self._window is None or self._batches:
            window = PeakWindow(self.device)
        else:
            # `on_epoch_start` has said that the optimization begins: its peak is since then.
            window, self._window = self._window, None
        self._evaluations = LossEvaluations(self.verbose_batches, self.progress_seconds, self.device, window)

    def on_loss_evaluation(self, i: int, loss: Any) -> None:
        """Evaluation `i` of the loss, counted from 0, gave `loss`.

        The first ones are printed: `  Loss evaluation 0: CPU: …` and `    Iteration 1: loss=0.145320`; later
        ones each `progress_seconds`. Every one is recorded.
        """
        if not self.enabled:
            return
        if self._evaluations is None:
            self.on_optimization_start()
        if self._evaluations is not None:
            self._evaluations.add(i, loss)

    def on_optimization_end(self) -> None:
        """Prints `After optimization: CPU: …`, `  Peak GPU memory during optimization: 25.3 MB`, how many
        evaluations there were, and what each added to memory."""
        if self.enabled and self._evaluations is not None:
            evaluations, self._evaluations = self._evaluations, None
            evaluations.finish()

    def monitor_loss(self, function: Callable[..., Any]) -> MonitoredLoss:
        """The function, whose every call `on_loss_evaluation` is told of; see `MonitoredLoss`."""
        from .monitored_loss import MonitoredLoss

        return MonitoredLoss(function, self)

    def _end_epoch(self) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            epoch.__exit__(None, None, None)
