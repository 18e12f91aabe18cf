"""A physical trainer: finds the viscosity of Burgers simulations by PhiFlow's `math.minimize`, L-BFGS-B.

    python examples/python/physical_inverse.py --run runs/inverse
    tidegauge summary runs/inverse
    tidegauge phases runs/inverse
    tidegauge query runs/inverse "SELECT step, value FROM checkpoints WHERE kind = 'loss_evaluation'"

The truth is a viscosity that varies in space; simulations made with it are the data. The optimizer is a
black box that calls a function, so that there are no batches to be told of: each evaluation of the loss is
recorded instead, with the field operations (advect, diffuse) as spans in it. Ends with the recovered field
against the true one.

Needs `phiflow` (3.4) beside torch.
"""

from __future__ import annotations

import argparse
from typing import Any

import tidegauge as tg
import torch
from phi.torch.flow import (
    TORCH,
    Box,
    CenteredGrid,
    Field,
    Noise,
    Solve,
    advect,
    batch,
    extrapolation,
    field,
    math,
    spatial,
)
from tidegauge.monitor import EpochMemoryMonitor, MemoryMonitor, track_memory

SECONDS_PER_FRAME = 0.02
MEAN_VISCOSITY = 0.02


def true_viscosity(position: Any) -> Any:
    """What is to be found: between 0.005 and 0.035."""
    angle = 2 * math.pi * position
    return MEAN_VISCOSITY + 0.015 * math.sin(angle.vector["x"]) * math.cos(angle.vector["y"])


def rollout(velocity: Field, viscosity: Field, frames: int) -> list[Field]:
    """The Burgers equation from `velocity` on: the following frames."""
    states = []
    for _ in range(frames):
        with tg.span("advect"):
            velocity = advect.semi_lagrangian(velocity, velocity, SECONDS_PER_FRAME)
        with tg.span("diffuse"):
            velocity = velocity + SECONDS_PER_FRAME * viscosity * field.laplace(velocity)
        states.append(velocity)
    return states


def relative_error(found: Field, truth: Field) -> float:
    """Of what is left unknown, the part: 1 for the mean viscosity everywhere, 0 for the truth."""
    missed = math.l2_loss(found.values - truth.values, "x,y")
    return float(math.sqrt(missed / math.l2_loss(MEAN_VISCOSITY - truth.values, "x,y")))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/inverse", help="folder of the trace")
    parser.add_argument("--steps", type=int, default=30, help="iterations of L-BFGS-B at most")
    parser.add_argument("--batch-size", type=int, default=8, help="simulations that share the viscosity")
    parser.add_argument("--frames", type=int, default=4, help="frames in each of them")
    parser.add_argument("--cells", type=int, default=16, help="along each side of the grid")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--memory-monitor-batches", type=int, default=3, help="evaluations to be printed")
    parser.add_argument("--quick", action="store_true", help="few iterations on a small grid, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.cells = min(arguments.steps, 15), 8
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    math.set_global_precision(64)
    if arguments.device == "cuda":
        TORCH.set_default_device("GPU")
    config = {
        "name": "viscosity", "model": "burgers", "batch_size": arguments.batch_size,
        "frames": arguments.frames,
        "cells": arguments.cells, "precision": "fp64", "device": arguments.device,
        "trainer_params": {
            "enable_memory_monitoring": True, "memory_monitor_batches": arguments.memory_monitor_batches,
        },
    }  # fmt: skip
    tg.start(arguments.run, config=config)
    tg.attach()

    box = Box(x=1.0, y=1.0)
    grid = {
        "extrapolation": extrapolation.PERIODIC,
        "bounds": box,
        "x": arguments.cells,
        "y": arguments.cells,
    }
    with track_memory("ground truth"):
        smooth = Noise(batch(simulation=arguments.batch_size), vector="x,y", scale=0.5, smoothness=1.0)
        velocity = CenteredGrid(smooth, **grid) * 0.5
        truth = CenteredGrid(true_viscosity, **grid)
        observed = rollout(velocity, truth, arguments.frames)

    def loss_function(log_viscosity: Any) -> Any:
        with tg.span("simulate"):
            predicted = rollout(velocity, truth.with_values(math.exp(log_viscosity)), arguments.frames)
        with tg.span("loss"):
            return sum(
                math.l2_loss((state - seen).values, "simulation,x,y,vector")
                for state, seen in zip(predicted, observed)
            )

    monitor = EpochMemoryMonitor.from_config(config)
    MemoryMonitor.print_memory_usage("After loading ground truth data")
    guess = math.log(MEAN_VISCOSITY) + math.zeros(spatial(x=arguments.cells, y=arguments.cells))
    solve = Solve("L-BFGS-B", 0, 1e-14, x0=guess, max_iterations=arguments.steps)
    with monitor.monitor_loss(loss_function) as monitored:
        try:
            log_viscosity = math.minimize(monitored, solve)
        except math.NotConverged as ended:  # all iterations were made
            log_viscosity = ended.result.x
    found = truth.with_values(math.exp(log_viscosity))

    trace = tg.stop()
    before, after = relative_error(truth.with_values(MEAN_VISCOSITY), truth), relative_error(found, truth)
    for cell in range(0, arguments.cells, max(1, arguments.cells // 4)):
        values = [float(viscosity.values.x[cell].y[0]) for viscosity in (found, truth)]
        print(f"  viscosity at cell ({cell}, 0): found {values[0]:.6f}, true {values[1]:.6f}")
    print(f"relative error of the viscosity: {before:.3f} → {after:.6f}; trace in {trace}")


if __name__ == "__main__":
    main()
