"""What a process and its device hold at one moment, read then and there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tidegauge as tg

from .cuda import cuda_in_use, device_index

#: Bytes in what logs call an MB.
MB = 1024.0**2


def mb(size_bytes: float | None) -> float:
    """Bytes as MB; 0 where there is no GPU to hold any, as logs have always had it."""
    return 0.0 if size_bytes is None else size_bytes / MB


def cpu_mb(size_bytes: float | None) -> float:
    """Bytes of the process as MB; NaN where the system does not tell, since a process never holds nothing."""
    return float("nan") if size_bytes is None else size_bytes / MB


@dataclass(frozen=True)
class MemoryReading:
    """Memory in bytes; None where it cannot be read, or where there is no such device."""

    cpu_bytes: int | None
    gpu_device: int | None = None
    gpu_allocated_bytes: int | None = None
    gpu_reserved_bytes: int | None = None

    @classmethod
    def now(cls, device: Any = None) -> MemoryReading:
        """Reads; `device` is the CUDA device, None the current one."""
        cpu_bytes = tg._native.rss_bytes()
        cuda = cuda_in_use()
        if cuda is None:
            return cls(cpu_bytes)
        index = device_index(cuda, device)
        try:
            allocated, reserved = cuda.memory_allocated(index), cuda.memory_reserved(index)
            return cls(cpu_bytes, index, int(allocated), int(reserved))
        except Exception:
            # A pluggable allocator need not count, and a device may be gone.
            return cls(cpu_bytes)

    @property
    def cpu_mb(self) -> float:
        """Resident memory of the process."""
        return cpu_mb(self.cpu_bytes)

    @property
    def gpu_allocated_mb(self) -> float:
        """What tensors hold on the device."""
        return mb(self.gpu_allocated_bytes)

    @property
    def gpu_reserved_mb(self) -> float:
        """What PyTorch's allocator took from the device, in use or not."""
        return mb(self.gpu_reserved_bytes)

    def summary_mb(self) -> dict[str, float]:
        """All figures by the names that `MemoryMonitor.get_memory_summary` gives them."""
        summary = {
            "cpu_memory_mb": self.cpu_mb,
            "gpu_memory_allocated_mb": self.gpu_allocated_mb,
            "gpu_memory_reserved_mb": self.gpu_reserved_mb,
        }
        cuda = cuda_in_use()
        if cuda is not None and self.gpu_device is not None:
            try:
                total_bytes = cuda.get_device_properties(self.gpu_device).total_memory
                summary["gpu_memory_free_mb"] = mb(total_bytes) - self.gpu_reserved_mb
            except Exception:
                # The device may be gone; the other figures stand.
                pass
        return summary
