"""PyTorch: allocations from its own allocators, phases, steps and modules, without touching the training
loop.

    tg.attach(model, optimizer)     # after tg.start
    tg.detach()                     # or tg.stop(), which takes everything out

`attach` without arguments does nearly as well: modules and optimizers are met when they are first used.
Importing this module imports no torch and compiles nothing.

What is recorded, and by which means:

* each block of torch's allocators (`allocations`), with what was alive before (`baseline`);
* phases `data`, `forward`, `loss` (a module of torch's that computes one), `backward`, `optimizer`,
  `zero_grad`, `eval` (a model called without gradients, or in evaluation mode), and `recompute` within
  `backward` (checkpointing) (`forward`, `phases`);
* the path of the module that each block was allocated in, in forward and in backward (`sites`);
* what blocks are for: parameters, gradients, optimizer state, inputs (`tags`). Buffers of modules count as
  parameters;
* the table `modules` (`modules`);
* training steps, where the program makes none with `tg.step` (`automatic_steps`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import _native, recording

if TYPE_CHECKING:
    from .installation import Installation

__all__ = ["attach", "attach_when_imported", "detach", "snapshot"]

_lock = threading.RLock()
#: What is installed in this process.
_installation: Installation | None = None


def attach(
    model: Any = None,
    optimizer: Any = None,
    *,
    name: str | None = None,
    allocations: bool = True,
    phases: bool = True,
    steps: bool = True,
) -> None:
    """Has what torch does from here on recorded, until `tg.stop()` or `detach()`; may be called again with
    others.

    model: a module or several; known by the `name` given, else by its class, of which the paths of its
    submodules are made. optimizer: an optimizer or several. Both may be left out: then they are met when they
    are first used.

    allocations: follow torch's allocators. phases: record data, forward, backward and so on as spans; switch
    that off where the program marks them all itself. steps: make training steps where the program makes none
    by itself: a step begins with the data loader's next batch, or with the first forward after an optimizer's
    step where there is no data loader. The first call decides about these three.

    A model counts as evaluated (phase `eval`) if it is called without gradients, or in evaluation mode after
    it was trained in training mode. One that has been in evaluation mode all along may be part of training.

    While attached, `torch.export.export(strict=True)` raises `Unsupported`, as it does with any global hook
    of modules: `detach` before, or export non-strictly. Every recording registers optimizer hooks anew, for
    which Dynamo compiles a compiled `optimizer.step` again: a program that starts and stops more often than
    `torch._dynamo.config.recompile_limit` (8) within its life should raise that.

    Nothing is registered on the module itself: it can be copied, pickled and saved as before. What cannot be
    had here, for want of a compiler say, is a line in the trace's notes and on standard error, and never an
    exception.

    Raises `TypeError` for a model or optimizer that is none.
    """
    if not _native.is_on():
        print("tidegauge: attach: nothing is recorded; call tidegauge.start first", file=sys.stderr)
        return
    models, optimizers = several(model), several(optimizer)
    for given, method in [
        *((one, "named_modules") for one in models),
        *((one, "param_groups") for one in optimizers),
    ]:
        if not hasattr(given, method):
            raise TypeError(f"tidegauge.attach: {type(given).__name__} has no {method}")
    with _lock:
        installation = _present()
        if installation is None:
            _install(models, optimizers, name, allocations, phases, steps)
        else:
            installation.add(models, optimizers, name)


def detach() -> None:
    """Takes everything out that `attach` has put into torch; blocks that were recorded stay valid."""
    global _installation
    with _lock:
        installation, _installation = _installation, None
        if installation is not None:
            installation.remove()


def attach_when_imported() -> None:
    """What an import hook calls when torch has just been imported: as `attach()`, and silent when nothing is
    recorded.
    """
    try:
        if _native.is_on():
            attach()
    except Exception as error:
        _native.note(f"torch is not recorded: {error!r}")


def snapshot() -> str | None:
    """Has torch write a snapshot of its CUDA allocator into the trace's folder; returns its path, None
    without CUDA.

    It holds a history where `torch.cuda.memory._record_memory_history` is on, as it is without a compiler.
    """
    from .snapshots import write_snapshot

    return write_snapshot("request")


def several(given: Any) -> list[Any]:
    """None, one or several as a list."""
    if given is None:
        return []
    # A module may be iterable (Sequential), an optimizer is not.
    if hasattr(given, "named_modules") or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _present() -> Installation | None:
    """What is installed here; what a fork has brought along is not."""
    global _installation
    if _installation is not None and _installation.pid != os.getpid():
        _installation.abandon()
        _installation = None
    return _installation


def _install(
    models: list[Any], optimizers: list[Any], name: str | None, allocations: bool, phases: bool, steps: bool
) -> None:
    global _installation
    from .installation import Installation

    _installation = Installation(allocations=allocations, phases=phases, steps=steps)
    _installation.install(models, optimizers, name)
    recording.at_stop(detach)


def _after_fork() -> None:
    # The child records nothing, so that hooks would only cost it time.
    global _lock, _installation
    _lock = threading.RLock()
    installation, _installation = _installation, None
    if installation is not None:
        installation.abandon()


os.register_at_fork(after_in_child=_after_fork)
