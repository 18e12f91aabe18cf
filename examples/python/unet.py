"""A small U-Net that learns to continue solutions of the Burgers equation, by rollouts of several steps.

    python examples/python/unet.py --run runs/unet-4 --batch-size 4
    python examples/python/unet.py --run runs/unet-8 --batch-size 8
    tidegauge summary runs/unet-4
    tidegauge compare runs/unet-4 runs/unet-8

In training the network is fed its own predictions, and all of them are held until backward: the memory of
activations grows with the batch size and with the number of rollout steps. With checkpointing, of each step
only the state that it started from is held, and the network is run again in backward.
"""

from __future__ import annotations

import argparse
import contextlib

import tidegauge as tg
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Convolutions(nn.Sequential):
    """Two convolutions on a periodic grid [batch, channels, y, x], each normalised and bent."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular"),
            nn.GroupNorm(4, outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="circular"),
            nn.GroupNorm(4, outputs),
            nn.GELU(),
        )


class UNet(nn.Module):
    """Takes a velocity field [batch, 2, y, x] one time step further."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1, self.down2 = Convolutions(2, channels), Convolutions(channels, 2 * channels)
        self.middle = Convolutions(2 * channels, 4 * channels)
        self.up2, self.up1 = Convolutions(6 * channels, 2 * channels), Convolutions(3 * channels, channels)
        self.change = nn.Conv2d(channels, 2, 1)

    def forward(self, velocity: torch.Tensor) -> torch.Tensor:
        fine = self.down1(velocity)
        coarse = self.down2(functional.avg_pool2d(fine, 2))
        x = self.middle(functional.avg_pool2d(coarse, 2))
        x = self.up2(torch.cat([functional.interpolate(x, scale_factor=2.0), coarse], 1))
        x = self.up1(torch.cat([functional.interpolate(x, scale_factor=2.0), fine], 1))
        return velocity + self.change(x)


def burgers(simulations: int, frames: int, cells: int, seed: int) -> torch.Tensor:
    """Solutions of ∂u/∂t = −u·∇u + ν∇²u from random velocities: [simulations, frames, 2, cells, cells]."""
    viscosity, cell, seconds, substeps = 0.01, 1.0 / cells, 0.02, 10
    samples = torch.Generator().manual_seed(seed)
    wave = torch.fft.fftfreq(cells, 1.0 / cells)
    smooth = torch.exp(-(wave[:, None] ** 2 + wave[None, :] ** 2) / 8.0)
    velocity = torch.randn(simulations, 2, cells, cells, generator=samples)
    velocity = torch.fft.ifft2(torch.fft.fft2(velocity) * smooth).real
    velocity = velocity / velocity.std()
    states = [velocity]
    for _ in range(frames - 1):
        for _ in range(substeps):
            up, down = velocity.roll(-1, 2), velocity.roll(1, 2)
            right, left = velocity.roll(-1, 3), velocity.roll(1, 3)
            # Against the wind, which keeps shocks from ringing.
            v, u = velocity[:, :1], velocity[:, 1:]
            advection = v * torch.where(v > 0, velocity - down, up - velocity)
            advection = advection + u * torch.where(u > 0, velocity - left, right - velocity)
            diffusion = viscosity * (up + down + left + right - 4.0 * velocity) / cell
            velocity = velocity + seconds / substeps / cell * (diffusion - advection)
        states.append(velocity)
    return torch.stack(states, 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/unet", help="folder of the trace")
    parser.add_argument("--name", default="Baseline", help="what `tidegauge compare` calls this run")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument(
        "--rollout-steps", type=int, default=4, help="predictions in a row, each from the last"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--checkpointing", action="store_true", help="compute rollout steps again in backward"
    )
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=32, help="along each side of the grid, a multiple of 4")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = min(arguments.steps, 3)
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    tg.start(arguments.run, config={
        "name": arguments.name, "model": "unet", "batch_size": arguments.batch_size,
        "rollout_steps": arguments.rollout_steps, "checkpointing": arguments.checkpointing,
        "precision": "bf16" if arguments.bf16 else "fp32", "channels": arguments.channels,
        "cells": arguments.cells, "device": str(device),
    })  # fmt: skip

    with tg.span("make_data"):
        simulations = burgers(simulations=16, frames=12, cells=arguments.cells, seed=0)
    model = UNet(arguments.channels).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tg.attach(model, optimizer)
    samples = torch.Generator().manual_seed(1)
    offsets = torch.arange(arguments.rollout_steps + 1)

    losses = []
    for number in range(arguments.steps):
        with tg.step(number, batch_size=arguments.batch_size) as step:
            with tg.span("data_to_device"):
                which = torch.randint(simulations.shape[0], (arguments.batch_size, 1), generator=samples)
                begins = simulations.shape[1] - arguments.rollout_steps
                first = torch.randint(begins, (arguments.batch_size, 1), generator=samples)
                window = simulations[which, first + offsets].to(device)
            with tg.span("forward"):
                velocity, loss = window[:, 0], torch.zeros((), device=device)
                precision = (
                    torch.autocast(device.type, torch.bfloat16)
                    if arguments.bf16
                    else contextlib.nullcontext()
                )
                with precision:
                    for frame in range(1, arguments.rollout_steps + 1):
                        if arguments.checkpointing:
                            velocity = checkpoint(model, velocity, use_reentrant=False)
                        else:
                            velocity = model(velocity)
                        loss = loss + functional.mse_loss(velocity.float(), window[:, frame])
            with tg.span("backward"):
                loss.backward()
            with tg.span("optimizer"):
                optimizer.step()
            with tg.span("zero_grad"):
                optimizer.zero_grad()
            step.loss = loss.item() / arguments.rollout_steps
        losses.append(step.loss)

    trace = tg.stop()
    print(
        f"{arguments.name}: loss {losses[0]:.4f} → {losses[-1]:.4f} "
        f"in {len(losses)} steps on {device}; trace in {trace}"
    )


if __name__ == "__main__":
    main()
