"""A model whose layers lie on several devices, and what each of them holds.

    python examples/python/model_parallel.py --run runs/parallel
    tidegauge summary runs/parallel
    tidegauge peaks runs/parallel --by site

The placement is planned on torch's `meta` device, where tensors have shapes and no memory: layers are cut
into two stages of about equal need (parameters, their gradients and Adam's state, and what forward keeps).
Then

* with two CUDA devices or more, each stage lies on one of its own: every device has its own curves in the
  trace;
* with one CUDA device, the second stage stays on the CPU: the trace has the curves of the two;
* without CUDA, both stages lie in the memory of the host. **That is no parallelism and saves nothing**:
  there is one curve. It shows which activations belong to which stage (`Pipeline.stages.0…`,
  `Pipeline.stages.1…` of the sites), to be held against the plan.

Stages work one after the other; activations are carried from one to the next.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import tidegauge as tg
import torch
from torch import nn
from torch.nn import functional

INPUTS, CLASSES = 64, 10
#: A parameter, its gradient and the two moments of Adam.
COPIES_OF_PARAMETERS = 4


def layers(width: int, depth: int) -> list[nn.Module]:
    """A perceptron whose hidden layers are as wide as `width`."""
    hidden = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(depth)]
    return [nn.Sequential(nn.Linear(INPUTS, width), nn.GELU()), *hidden, nn.Linear(width, CLASSES)]


class Need:
    """What a layer will hold in training, in bytes."""

    def __init__(self, layer: nn.Module, x: torch.Tensor) -> None:
        self.parameters_bytes = COPIES_OF_PARAMETERS * sum(
            parameter.nbytes for parameter in layer.parameters()
        )
        self.activations_bytes = 0
        for module in layer if isinstance(layer, nn.Sequential) else [layer]:
            x = module(x)
            self.activations_bytes += x.nbytes
        self.output = x

    @property
    def bytes(self) -> int:
        return self.parameters_bytes + self.activations_bytes


def needs(width: int, depth: int, batch_size: int) -> list[Need]:
    """What each layer will need, found without using memory."""
    found: list[Need] = []
    with torch.device("meta"):
        for layer in layers(width, depth):
            found.append(Need(layer, found[-1].output if found else torch.empty(batch_size, INPUTS)))
    return found


def cut(sizes: Sequence[int]) -> int:
    """Where the second stage begins, so that the larger of the two needs as little as possible."""
    return min(range(1, len(sizes)), key=lambda place: max(sum(sizes[:place]), sum(sizes[place:])))


class Pipeline(nn.Module):
    """Stages, each on a device; the input of each is carried there."""

    def __init__(self, stages: Sequence[Sequence[nn.Module]], devices: Sequence[torch.device]) -> None:
        super().__init__()
        self.devices = list(devices)
        self.stages = nn.ModuleList(
            nn.Sequential(*stage).to(device) for stage, device in zip(stages, devices)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage, device in zip(self.stages, self.devices):
            x = stage(x.to(device))
        return x


def devices_of(choice: str) -> list[torch.device]:
    """Where the two stages go."""
    if choice != "auto":
        names = choice.split(",")
        return [torch.device(names[0]), torch.device(names[-1])]
    if torch.cuda.device_count() > 1:
        return [torch.device("cuda:0"), torch.device("cuda:1")]
    return [torch.device("cuda:0" if torch.cuda.is_available() else "cpu"), torch.device("cpu")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/parallel", help="folder of the trace")
    parser.add_argument("--name", default="two stages", help="what `tidegauge compare` calls this run")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--device", default="auto", help="auto, or one for each stage: cuda:0,cuda:1")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=6, help="hidden layers")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = min(arguments.steps, 4)
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    devices = devices_of(arguments.device)
    plan = needs(arguments.width, arguments.depth, arguments.batch_size)
    place = cut([need.bytes for need in plan])
    tg.start(arguments.run, config={
        "name": arguments.name, "model": "perceptron", "batch_size": arguments.batch_size,
        "width": arguments.width,
        "depth": arguments.depth, "stage0": str(devices[0]), "stage1": str(devices[1]),
    })  # fmt: skip
    for number, part in enumerate((plan[:place], plan[place:])):
        parameters = sum(need.parameters_bytes for need in part) / 2**20
        activations = sum(need.activations_bytes for need in part) / 2**20
        print(
            f"stage {number}: {len(part)} layers on {devices[number]}, planned {parameters:.2f} MiB for "
            f"parameters, gradients and Adam, {activations:.2f} MiB of activations"
        )
    if devices[0] == devices[1]:
        print(f"both stages lie on {devices[0]}: this shows what each holds, and saves nothing")

    made = layers(arguments.width, arguments.depth)
    model = Pipeline([made[:place], made[place:]], devices)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    tg.attach(model, optimizer)
    samples = torch.Generator().manual_seed(1)
    truth = torch.randn(INPUTS, CLASSES, generator=samples)

    losses = []
    for number in range(arguments.steps):
        with tg.step(number, batch_size=arguments.batch_size) as step:
            with tg.span("data_to_device"):
                x = torch.randn(arguments.batch_size, INPUTS, generator=samples)
                labels = (x @ truth).argmax(1).to(devices[-1])
            with tg.span("forward"):
                loss = functional.cross_entropy(model(x), labels)
            with tg.span("backward"):
                loss.backward()
            with tg.span("optimizer"):
                optimizer.step()
            with tg.span("zero_grad"):
                optimizer.zero_grad()
            step.loss = loss.item()
        losses.append(step.loss)

    trace = tg.stop()
    print(
        f"{arguments.name}: loss {losses[0]:.3f} → {losses[-1]:.3f} in {len(losses)} steps; trace in {trace}"
    )


if __name__ == "__main__":
    main()
