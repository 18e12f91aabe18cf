"""A physical trainer: finds the viscosity field of Burgers simulations by PhiFlow's `math.minimize` with L-BFGS-B.

    python examples/python/physical_inverse.py --run runs/inverse
    tidegauge summary runs/inverse
    tidegauge phases runs/inverse
    tidegauge query runs/inverse "SELECT step, value FROM checkpoints WHERE kind = 'loss_evaluation'"

The truth is a viscosity that varies in space; simulations made with it are the data. The optimizer is a black box that
calls a function, so that there are no batches to be told of: each evaluation of the loss is recorded instead, with
PhiFlow's operations (advect, diffuse) as spans in it. Ends with the recovered field against the true one.

Needs `phiflow` (3.4) beside torch.
"""

from __future__ import annotations

import argparse

import tidegauge as tg
import torch
from phi.torch.flow import (
    CenteredGrid, Solve, TORCH, advect, batch, channel, diffuse, extrapolation, field, instance, math, spatial, vec,
)  # fmt: skip
from tidegauge.monitor import EpochMemoryMonitor, MemoryMonitor

SECONDS_PER_FRAME = 0.02
