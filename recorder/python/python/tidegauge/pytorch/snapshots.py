"""Torch's own snapshots of its CUDA allocator: what there is where nothing can be compiled.

They are files in `RUN/snapshots`, which `tidegauge` reads like a trace. Torch then keeps the history itself;
a snapshot is written when recording ends, when a device runs out of memory, and when it is asked for.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import torch

from .. import _native
from .notes import failed, note

if TYPE_CHECKING:
    from .installation import Installation

#: Of torch's history: some hundred bytes each.
MOST_ENTRIES = 1_000_000

_count = 0


def write_snapshot(reason: str) -> str | None:
    """Has torch write a snapshot; its path, or None where CUDA is not in use, nothing is recorded, or it
    failed.
    """
    global _count
    run = _native.run_path()
    if run is None or not torch.cuda.is_initialized():
        return None
    folder = os.path.join(run, "snapshots")
    path = os.path.join(folder, f"{socket.gethostname()}-{os.getpid()}-{_count:03}-{reason}.pickle")
    _count += 1
    try:
        os.makedirs(folder, exist_ok=True)
        torch.cuda.memory._dump_snapshot(path)
    except Exception as error:
        failed("a snapshot", error)
        return None
    note(f"a snapshot was written: snapshots/{os.path.basename(path)}")
    return path


def install(installation: Installation) -> None:
    """Has torch keep a history, and writes it when recording ends or a device is out of memory. CUDA must be
    in use.
    """
    enabled = getattr(torch._C, "_cuda_isHistoryEnabled", None)
    # The program's own history stays as it is.
    is_ours = not (enabled is not None and enabled())
    if is_ours:
        torch.cuda.memory._record_memory_history(max_entries=MOST_ENTRIES)

    def out_of_memory(device: int, requested: int, _total: int, _free: int) -> None:
        if installation.is_active:
            _native.oom(device, requested)
            write_snapshot("oom")

    attach = getattr(torch._C, "_cuda_attach_out_of_memory_observer", None)
    if attach is not None:
        attach(out_of_memory)

    def undo() -> None:
        if installation.pid != os.getpid():
            return
        write_snapshot("stop")
        if is_ours:
            torch.cuda.memory._record_memory_history(enabled=None)

    installation.patches.add(undo)
