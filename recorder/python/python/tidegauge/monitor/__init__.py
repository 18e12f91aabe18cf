"""The monitors that existing training code calls, with the printed lines that existing logs have.

Each works by itself, and writes to the trace as well when one is open. Every figure that is printed or
returned is read at that moment. Figures are `MB` as those logs label them, bytes / 1024²; CPU is the resident
memory of the process, GPU what PyTorch's allocator holds on one device: the current one unless a `device` is
given. PyTorch is asked only if the program has imported it, and CUDA only if it is in use already: nothing
here imports the one or initialises the other.

Where the training loop calls a monitor nothing is raised into it: what cannot be read is absent, what cannot
be printed is not.
"""

from __future__ import annotations

from .adaptive_batch_trainer import AdaptiveBatchTrainer
from .batch_memory_profiler import BatchMemoryProfiler
from .epoch_memory_monitor import EpochMemoryMonitor
from .memory_monitor import MemoryMonitor
from .memory_profiler import MemoryProfiler
from .memory_tracker import MemoryTracker
from .monitor_memory import monitor_memory
from .monitored_loss import MonitoredLoss, monitor_loss
from .streaming_inference import StreamingInference
from .track_memory import TrackedMemory, track_memory

__all__ = [
    "AdaptiveBatchTrainer",
    "BatchMemoryProfiler",
    "EpochMemoryMonitor",
    "MemoryMonitor",
    "MemoryProfiler",
    "MemoryTracker",
    "MonitoredLoss",
    "StreamingInference",
    "TrackedMemory",
    "monitor_loss",
    "monitor_memory",
    "track_memory",
]
