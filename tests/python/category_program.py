"""Trains small models, recorded, and says what torch itself knows of their memory.

    category_program.py FOLDER [CASE …]

Each case is recorded twice, into FOLDER/NUMBER-profiled and FOLDER/NUMBER-saved, NUMBER its place in
`CASES`. Beside each trace a JSON file of its name tells, at marks, the storages of the model's and the
optimizer's own tensors (by address, once each); of the profiled one also what torch.profiler finds alive at
the highest moment of each step, of the other the storages that autograd has saved. These are two recordings
because hooks on what is saved change what the profiler sees.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "python"))

import tidegauge as tg  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

STEPS = 3


class Perceptron(nn.Module):
    """Linear layers with rectifiers between them, which can work in place."""

    def __init__(self, in_place: bool = False, is_normed: bool = False) -> None:
        super().__init__()
        norm = [nn.BatchNorm1d(512)] if is_normed else []
        self.layers = nn.Sequential(
            nn.Linear(256, 512), *norm, nn.ReLU(in_place),
            nn.Linear(512, 512), nn.ReLU(in_place), nn.Linear(512, 64),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Views(nn.Module):
    """Looks at its activations in parts, transposed and expanded, and copies them only where it must."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(256, 512), nn.Linear(256, 64)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.into(x).chunk(2, 1)
        gate = other.t().sigmoid().t()
        return self.out((one * gate + one[:, :1].expand_as(one)).reshape(len(x), -1))


class Checkpointed(nn.Module):
    """A perceptron whose layers are computed again in backward, but for the last ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = Perceptron(), nn.Linear(64, 256), Perceptron()

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.first, x, use_reentrant=False)
        return self.last(torch.relu(self.second(x)))


@dataclass(frozen=True)
class Case:
    """A model, its data and how it is trained."""

    model: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = torch.optim.Adam
    micro_batches: int = 1
    set_to_none: bool = True
    bf16: bool = False
    #: Whether the loop says where its phases are; otherwise they are what hooks see.
    has_spans: bool = True


def regression(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(model(x).float(), target)


def dense(model: Callable[[], nn.Module], **more: Any) -> Case:
    return Case(model, lambda: (torch.randn(1024, 256), torch.randn(1024, 64)), regression, **more)


def momentum(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


def transformer(checkpointing: bool = False, **more: Any) -> Case:
    from transformer import Transformer

    def loss(model: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
        return functional.cross_entropy(model(tokens).float().flatten(0, 1), following.flatten())

    def batch() -> tuple[Tensor, Tensor]:
        window = torch.randint(28, (16, 65))
        return window[:, :-1], window[:, 1:]

    return Case(lambda: Transformer(28, 64, 4, 4, 64, checkpointing), batch, loss, torch.optim.AdamW, **more)


def rollout() -> Case:
    """Calls a model several times for one backward, and has a large part of the loss between two calls."""

    def loss(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        total = torch.zeros(())
        for _ in range(3):
            x = model(x)
            total = total + functional.cross_entropy(x.flatten(0, 1), classes)
        return total

    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(64, 8, 256), torch.randint(256, (64 * 8,))

    return Case(lambda: nn.Sequential(nn.Linear(256, 256), nn.Tanh()), batch, loss, has_spans=False)


def unet(checkpointing: bool = False, **more: Any) -> Case:
    from unet import UNet

    def loss(model: nn.Module, window: Tensor, _: Tensor) -> Tensor:
        velocity, total = window[:, 0], torch.zeros(())
        for frame in range(1, 3):
            velocity = checkpoint(model, velocity, use_reentrant=False) if checkpointing else model(velocity)
            total = total + functional.mse_loss(velocity.float(), window[:, frame])
        return total

    def batch() -> tuple[Tensor, Tensor]:
        window = torch.randn(4, 3, 2, 32, 32)
        return window, window

    return Case(lambda: UNet(8), batch, loss, **more)


CASES: dict[str, Callable[[], Case]] = {
    "mlp, Adam": lambda: dense(Perceptron),
    "mlp, SGD with momentum": lambda: dense(Perceptron, optimizer=momentum),
    "mlp, in-place ReLU": lambda: dense(lambda: Perceptron(in_place=True)),
    "mlp, batch norm": lambda: dense(lambda: Perceptron(is_normed=True)),
    "mlp, accumulation": lambda: dense(Perceptron, micro_batches=3),
    "mlp, gradients kept": lambda: dense(Perceptron, set_to_none=False),
    "mlp, gradients kept, SGD": lambda: dense(Perceptron, set_to_none=False, optimizer=momentum),
    "mlp, bf16": lambda: dense(Perceptron, bf16=True),
    "mlp, checkpointing": lambda: dense(Checkpointed),
    "mlp, without spans": lambda: dense(Perceptron, has_spans=False),
    "views": lambda: dense(Views),
    "transformer": transformer,
    "transformer, accumulation": lambda: transformer(micro_batches=2),
    "transformer, gradients kept": lambda: transformer(set_to_none=False),
    "transformer, bf16": lambda: transformer(bf16=True),
    "transformer, checkpointing": lambda: transformer(checkpointing=True),
    "transformer, without spans": lambda: transformer(has_spans=False),
    "transformer, accumulation without spans": lambda: transformer(micro_batches=2, has_spans=False),
    "rollout, without spans": rollout,
    "unet": unet,
    "unet, accumulation": lambda: unet(micro_batches=2),
    "unet, bf16": lambda: unet(bf16=True),
    "unet, checkpointing": lambda: unet(checkpointing=True),
    "unet, without spans": lambda: unet(has_spans=False),
}


def storages(tensors: Iterable[Any]) -> dict[int, int]:
    """Bytes of the storages of tensors by address, each once."""
    parts = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
    return {storage.data_ptr(): storage.nbytes() for storage in parts if storage.nbytes()}


class Saved:
    """The storages that autograd saves."""

    def __init__(self) -> None:
        self._references: dict[int, tuple[Any, int, int]] = {}

    def see(self, tensor: Tensor) -> Tensor:
        from torch.multiprocessing.reductions import StorageWeakRef

        storage = tensor.untyped_storage()
        self._references[storage._cdata] = (StorageWeakRef(storage), storage.data_ptr(), storage.nbytes())
        return tensor

    def alive(self) -> dict[int, int]:
        kept = self._references.values()
        return {address: size for reference, address, size in kept if not reference.expired()}


def profiled_peaks(profiler: Any) -> list[dict[str, Any]]:
    """What the profiler finds alive at the highest moment of each step: address, bytes, category."""
    profile = profiler._memory_profile()
    categories = profile._categories
    spans: dict[int, tuple[int, int]] = {}
    for event in profile._op_tree.dfs():
        if event.name.startswith("whole step "):
            spans[int(event.name.rpartition(" ")[2])] = (event.start_time_ns, event.end_time_ns)
    peaks: list[dict[str, Any]] = [{"bytes": -1} for _ in spans]
    alive: dict[Any, tuple[int, int, str]] = {}
    total = 0
    for time, action, (key, version), size in profile.timeline:
        if key.device != torch.device("cpu"):
            continue
        is_tensor = hasattr(key, "storage")

        if action.name in ("PREEXISTING", "CREATE"):
            total += size
        elif action.name == "DESTROY":
            total -= size
        if is_tensor and action.name == "DESTROY":
            alive.pop(key, None)
        elif is_tensor:
            category = categories.get(key, version + (action.name == "INCREMENT_VERSION"))
            name = category.name.lower() if category else "unknown"
            alive[key] = (key.storage.ptr, size, name)
        for number, (begin, end) in spans.items():
            if begin <= time <= end and total > peaks[number]["bytes"]:
                peaks[number] = {"bytes": total, "alive": list(alive.values())}
    return peaks


def record(run: Path, case_name: str, mode: str) -> None:
    torch.manual_seed(0)
    case = CASES[case_name]()
    tg.start(str(run), config={"name": case_name})
    model = case.model()
    optimizer = case.optimizer(model.parameters())
    tg.attach(model, optimizer)
    truth: dict[str, list[dict[str, Any]]] = {"marks": [], "peaks": []}
    saved = Saved()
    inputs: dict[int, int] = {}
    losses: dict[int, int] = {}

    def mark(name: str) -> None:
        state = [value for of in optimizer.state.values() for value in of.values()]
        truth["marks"].append({
            "name": name,
            "parameter": storages([*model.parameters(), *model.buffers()]),
            "gradient": storages(parameter.grad for parameter in model.parameters()),
            "optimizer_state": storages(state),
            "input": dict(inputs),
            "loss": dict(losses),
            "saved": saved.alive(),
        })  # fmt: skip
        tg.checkpoint(name)

    def hooked() -> contextlib.AbstractContextManager[Any]:
        if mode == "profiled":
            return contextlib.nullcontext()
        return torch.autograd.graph.saved_tensors_hooks(saved.see, lambda tensor: tensor)

    def span(name: str) -> contextlib.AbstractContextManager[Any]:
        return tg.span(name) if case.has_spans else contextlib.nullcontext()

    def step(number: int) -> None:
        with tg.step(number, batch_size=16 * case.micro_batches):
            for _ in range(case.micro_batches):
                with span("data"):
                    x, target = case.batch()
                    inputs.clear()
                    inputs.update(storages([x, target]))
                with span("forward"), hooked():
                    precision = torch.autocast("cpu", torch.bfloat16, enabled=case.bf16)
                    with precision:
                        loss = case.loss(model, x, target)
                losses.clear()
                losses.update(storages([loss]))
                mark("after_forward")
                with span("backward"):
                    loss.backward()
                mark("after_backward")
            with span("optimizer"):
                optimizer.step()
            mark("after_optimizer")
            with span("zero_grad"):
                optimizer.zero_grad(set_to_none=case.set_to_none)

    def train() -> Iterator[None]:
        for number in range(STEPS):
            with torch.profiler.record_function(f"whole step {number}"):
                step(number)
            yield

    if mode == "profiled":
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU],
            profile_memory=True, record_shapes=True, with_stack=True,
        ) as profiler:  # fmt: skip
            for _ in train():
                pass
        tg.stop()
        truth["peaks"] = profiled_peaks(profiler)
    else:
        for _ in train():
            pass
        tg.stop()
    Path(f"{run}.json").write_text(json.dumps(truth))


def main() -> None:
    folder = Path(sys.argv[1])
    for number, name in enumerate(CASES):
        for mode in ("profiled", "saved"):
            if not sys.argv[2:] or name in sys.argv[2:]:
                record(folder / f"{number}-{mode}", name, mode)
                gc.collect()


if __name__ == "__main__":
    main()
