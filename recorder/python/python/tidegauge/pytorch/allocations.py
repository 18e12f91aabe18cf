"""Recording torch's allocators: the compiled part, the baseline, CUDA when it is in use, and what is done
without.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from .. import _native, recording
from . import cuda, snapshots
from .baseline import Baseline
from .extension import AllocatorExtension, ExtensionError
from .notes import note

if TYPE_CHECKING:
    from .installation import Installation

#: One for the process: blocks that came through it refer to it until they are freed.
_extension = AllocatorExtension()
#: Whose recording it is now. CUDA may be initialized long after it has ended, or in a forked child.
_present: Allocations | None = None
#: Whether torch calls us when it initializes CUDA. What it is to call then cannot be taken back.
_is_queued = False


class _Told:
    """Whether the present recording was told of every block of the CPU that came through our allocator."""

    def __init__(self) -> None:
        #: The process that was told; a child records by itself.
        self.process: int | None = None

    def forget(self) -> None:
        """Recording has ended, or our allocator makes blocks that it does not tell of."""
        self.process = None


_told = _Told()


class Allocations:
    """Follows the allocators of the CPU and of CUDA while it is installed."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._functions = _native.functions()
        self._has_cpu = False
        self._has_cuda = False

    def install(self, models: Iterable[Any], optimizers: Iterable[Any]) -> None:
        """Begins with the CPU; CUDA follows at once if it is in use, else when torch initializes it."""
        try:
            _extension.load()
            self._install_cpu(models, optimizers)
        except ExtensionError as error:
            note(f"allocations on the CPU are not recorded: {error}", loud=True)
        if torch.version.cuda is not None or torch.version.hip is not None:
            global _present
            _present = self
            _when_cuda_is_used()

    def _install_cpu(self, models: Iterable[Any], optimizers: Iterable[Any]) -> None:
        baseline = Baseline(list(models), list(optimizers))
        # What is allocated from here on is not in the baseline, what was is handed over: nothing is told
        # twice.
        _extension.prepare_cpu(self._functions)
        for storage, category in baseline.storages:
            block = _extension.adopt_cpu(storage)
            # What came through our allocator is known already where this recording was attached to before.
            if block is not None and not (block.came_through_us and _told.process == os.getpid()):
                _native.baseline(-1, block.address, block.size_bytes, category)
        _extension.install_cpu(self._functions)
        _told.process = os.getpid()
        recording.at_stop(_told.forget)
        self._has_cpu = self._installation.tags.has_host = True

    def _install_cuda(self) -> None:
        installation = self._installation
        if not installation.is_active or installation.pid != os.getpid() or self._has_cuda:
            return
        try:
            cuda.tell_devices()
            self._has_cuda = installation.tags.has_devices = _extension.attach_cuda(self._functions)
        except ExtensionError as error:
            note(
                f"allocations on CUDA devices are recorded by torch's own snapshots only: {error}", loud=True
            )
            snapshots.install(installation)
        except Exception as error:
            note(f"allocations on CUDA devices are not recorded: {error!r}", loud=True)

    def remove(self) -> None:
        """Gives torch its allocators back. Blocks that are alive stay valid."""
        self.forget()
        if self._has_cpu and not _extension.uninstall_cpu():
            _told.forget()
            note("another CPU allocator was set on top of ours, which stays below it and records no more")
        _extension.detach_cuda()
        self._has_cpu = self._has_cuda = False

    def forget(self) -> None:
        """Has nothing more installed when CUDA is initialized."""
        global _present
        if _present is self:
            _present = None


def _when_cuda_is_used() -> None:
    """Follows CUDA at once if it is in use, else when torch initializes it; never initializes it."""
    global _is_queued
    if torch.cuda.is_initialized():
        _on_cuda()
    elif not _is_queued:
        _is_queued = True
        torch.cuda._lazy_call(_on_cuda)


def _on_cuda() -> None:
    if _present is not None:
        _present._install_cuda()
