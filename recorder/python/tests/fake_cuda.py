"""Stands in for `torch.cuda` in tests of what the monitors make of its counters: there is no GPU where tests
run.

It counts as PyTorch's allocator does: allocated, reserved, and one peak per device that a reset begins anew
for everybody. Nothing else of CUDA is imitated.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest


class FakeCuda:
    """Put it in place of `torch.cuda`; `alloc` and `free` are what tensors would do."""

    class OutOfMemoryError(RuntimeError):
        """As torch raises it."""

    def __init__(self, devices: int = 1) -> None:
        self.allocated = [0] * devices
        self.reserved = [0] * devices
        self.peak = [0] * devices
        self.device = 0
        self.initialized = True
        self.emptied = 0

    def alloc(self, mb: float, device: int = 0) -> None:
        self.allocated[device] += int(mb * 1024**2)
        self.reserved[device] = max(self.reserved[device], self.allocated[device])
        self.peak[device] = max(self.peak[device], self.allocated[device])

    def free(self, mb: float, device: int = 0) -> None:
        self.allocated[device] -= int(mb * 1024**2)

    def is_initialized(self) -> bool:
        return self.initialized

    def is_available(self) -> bool:
        raise AssertionError("asking whether CUDA is available makes its first call")

    def current_device(self) -> int:
        return self.device

    def _index(self, device: int | None) -> int:
        return self.device if device is None else device

    def memory_allocated(self, device: int | None = None) -> int:
        return self.allocated[self._index(device)]

    def memory_reserved(self, device: int | None = None) -> int:
        return self.reserved[self._index(device)]

    def max_memory_allocated(self, device: int | None = None) -> int:
        return self.peak[self._index(device)]

    def reset_peak_memory_stats(self, device: int | None = None) -> None:
        self.peak[self._index(device)] = self.allocated[self._index(device)]

    def get_device_properties(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(total_memory=80 * 1024**3)

    def empty_cache(self) -> None:
        self.emptied += 1
        self.reserved = list(self.allocated)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """In place of `torch.cuda` while the test runs."""
    import torch

    fake = FakeCuda()
    monkeypatch.setattr(torch, "cuda", fake)
    return fake
