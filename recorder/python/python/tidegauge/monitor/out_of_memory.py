"""Tells the exceptions that mean "out of memory" from all others."""

from __future__ import annotations

import sys

#: Parts of the messages of torch's allocators, of cuBLAS and of cuDNN.
_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the device or the host did not suffice."""
    if isinstance(error, MemoryError):
        return True
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    kind = getattr(cuda, "OutOfMemoryError", None)
    if isinstance(kind, type) and isinstance(error, kind):
        return True
    # On the CPU, and in older versions on the GPU, it is a RuntimeError that says so.
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _MESSAGES)
