"""Records what a training run does to memory, to be analysed afterwards by `tidegauge`.

    import tidegauge as tg

    tg.start("runs/a", config={"batch_size": 16})
    tg.attach(model, optimizer)
    for number, batch in enumerate(loader):
        with tg.step(number, batch_size=16) as step:
            with tg.span("forward"):
                loss = model(batch)
            ...
            step.loss = loss
    tg.stop()

Or `TIDEGAUGE=runs/a` in the environment, and nothing of `start` and `stop`. While nothing is recorded every call is a
load and a branch. Calls within the training loop never raise but for arguments of a wrong type; what could not be
recorded is counted, and said by the analyzer.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._native import (
    Error,
    Site,
    Span,
    __version__,
    alloc,
    checkpoint,
    counter,
    dropped_records,
    dump,
    free,
    is_on,
    loss_evaluation,
    oom,
    recover,
    run_path,
)
from .recording import add_config, start, start_from_config, stop
from .steps import Epoch, Step, epoch, on_step, step

if _TYPE_CHECKING:
    from . import monitor as monitor
    from .pytorch import attach as attach
    from .pytorch import detach as detach

span = Span
site = Site

__all__ = [
    "Epoch",
    "Error",
    "Site",
    "Span",
    "Step",
    "__version__",
    "add_config",
    "alloc",
    "attach",
    "checkpoint",
    "counter",
    "detach",
    "dropped_records",
    "dump",
    "epoch",
    "free",
    "is_on",
    "loss_evaluation",
    "monitor",
    "on_step",
    "oom",
    "recover",
    "run_path",
    "site",
    "span",
    "start",
    "start_from_config",
    "step",
    "stop",
]


def __getattr__(name: str) -> _Any:
    """Loads what only some programs use when it is used first: the import stays light."""
    import importlib

    if name in ("attach", "detach"):
        return getattr(importlib.import_module(".pytorch", __name__), name)
    if name in ("monitor", "pytorch", "huggingface", "minimize"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if _os.environ.get("TIDEGAUGE"):
    from .launch.autostart import start_if_asked as _start_if_asked

    _start_if_asked()
