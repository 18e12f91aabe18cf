"""Finds PyTorch's CUDA where the program uses it already, and leaves it alone where it does not.

Importing torch takes seconds, and initialising CUDA takes device memory and breaks later forks; a monitor may
cause neither. `torch.cuda.is_available()` is not asked either, since it makes CUDA's first call.
"""

from __future__ import annotations

import sys
from typing import Any


def cuda_in_use() -> Any | None:
    """`torch.cuda`, if torch has been imported and CUDA initialised in this process, else None."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    try:
        return torch.cuda if torch.cuda.is_initialized() else None
    except Exception:
        # Another thread is in the middle of importing torch, or this torch was built without CUDA.
        return None


def device_index(cuda: Any, device: Any = None) -> int | None:
    """The number of a device given as a number, text (`"cuda:1"`) or `torch.device`; None is the current
    device."""
    try:
        if isinstance(device, int) and not isinstance(device, bool):
            return device
        if device is not None:
            index = sys.modules["torch"].device(device).index
            if index is not None:
                return int(index)
        return int(cuda.current_device())
    except Exception:
        return None


def release_cached_memory() -> None:
    """Gives what PyTorch's allocator holds in reserve back to the device, where there is one."""
    cuda = cuda_in_use()
    if cuda is None:
        return
    try:
        cuda.empty_cache()
    except Exception:
        # Not possible while a graph is being captured; the reserve is then kept.
        pass
