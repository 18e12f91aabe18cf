"""`AdaptiveBatchTrainer`: the search, what trials leave behind, and the loader that is made of another."""

from __future__ import annotations

import copy
import gc
import random
import re
import weakref
from typing import Any

import numpy
import pytest
import torch
from fake_cuda import FakeCuda
from tidegauge.monitor import AdaptiveBatchTrainer, MemoryMonitor
from tidegauge.monitor.batch_search import largest_passing
from tidegauge.monitor.batch_source import BatchSource
from tidegauge.monitor.host_peak import HostPeak, return_free_memory
from tidegauge.monitor.out_of_memory import is_out_of_memory
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    TensorDataset,
)

MB = 1024**2


@pytest.mark.parametrize("start", [1, 8, 32, 100, 512, 5000])
def test_the_search_finds_every_limit(start: int) -> None:
    for limit in [0, 7, 8, 9, 31, 32, 33, 64, 100, 255, 256, 300, 511, 512, 600]:
        tried: list[int] = []

        def passes(size: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(size)
            return size <= limit

        found = largest_passing(passes, start, 8, 512)
        assert found == (None if limit < 8 else min(limit, 512))
        assert len(tried) == len(set(tried)) <= 17
        assert all(8 <= size <= 512 for size in tried)
        for place, size in enumerate(tried[1:], start=1):
            passed = [earlier for earlier in tried[:place] if earlier <= limit]
            assert not passed or size <= 2 * max(passed), "no leap into what may take the process with it"


class Model(nn.Module):
    """Has all that a step changes: weights (two tied), running statistics, dropout, a buffer that is not
    saved."""

    counter: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(12)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(12, 3)
        self.register_buffer("counter", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.counter = self.counter + 1
        hidden: torch.Tensor = self.dropout(self.norm(self.second(torch.relu(self.first(x)))))
        output: torch.Tensor = self.last(hidden)
        return output


class Augmented(Dataset[Any]):
    """Draws from all three random generators for each item."""

    def __init__(self, length: int) -> None:
        self.data = torch.randn(length, 12, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = torch.randn(()) + random.random() + numpy.random.rand()
        return (self.data[index] + noise).float(), index % 3


def seed() -> None:
    random.seed(5)
    numpy.random.seed(5)
    torch.manual_seed(5)


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    """What training depends on, as values that can be compared."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [tensor.detach().tolist() for tensor in tensors],
        [None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()],
        str(optimizer.state_dict()),
        random.getstate(),
        str(numpy.random.get_state()),
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw-amsgrad"])
def test_trials_leave_nothing_behind(kind: str, is_trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seed()
    model = Model()
    parameters = list(model.parameters())
    optimizer: torch.optim.Optimizer = {
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "adam": lambda: torch.optim.Adam(parameters, lr=0.1),
        "adamw-amsgrad": lambda: torch.optim.AdamW(parameters, lr=0.1, amsgrad=True),
    }[kind]()
    loader = DataLoader(Augmented(100), batch_size=10, shuffle=True)
    trainer = AdaptiveBatchTrainer(model, optimizer)
    if is_trained:
        x, y = next(iter(loader))
        trainer._train_on((x, y))
    states = [value for state in optimizer.state.values() for value in state.values()]
    before = everything(model, optimizer)
    tried: list[int] = []

    def too_large(source: BatchSource, size: int) -> int:
        tried.append(size)
        trainer._train_on(source.batch(size))
        if size > 70:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
            )
        return 0

    monkeypatch.setattr(trainer, "_peak_of_step", too_large)
    assert trainer._find_optimal_batch_size(BatchSource(loader)) == 70
    assert len(tried) > 5
    assert everything(model, optimizer) == before
    assert [id(parameter) for parameter in model.parameters()] == [id(parameter) for parameter in parameters]
    assert model.second.weight is model.first.weight
    after = [value for state in optimizer.state.values() for value in state.values()]
    assert list(map(id, after)) == list(map(id, states)), "written into the tensors that were there"


class Registers(nn.Module):
    """Registers in its forward pass what it lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)
        self.register_buffer("ema", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ema = x.mean(0)
        if not hasattr(self, "seen"):
            self.register_buffer("seen", torch.zeros(()), persistent=False)
            self.scale = nn.Parameter(torch.ones(()))
            self.head = nn.Linear(3, 3)
        self.seen += len(x)
        output: torch.Tensor = self.head(self.layer(x) * self.scale)
        return output


def test_what_trials_register_is_taken_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Registers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=1e9)
    loader = DataLoader(Augmented(60), batch_size=10)
    assert trainer._find_optimal_batch_size(BatchSource(loader)) == 60
    assert model.ema is None and "ema" in model._buffers
    names = [*model.state_dict(), *(name for name, _ in model.named_modules())]
    assert names == ["layer.weight", "layer.bias", "", "layer"]
    assert not model._non_persistent_buffers_set
    trainer.max_batch_size = 30
    trainer.train_epoch(loader)
    assert float(model.seen) == 60, "of the epoch alone"


def test_weights_of_a_lazy_model_do_not_depend_on_the_rate_of_learning() -> None:
    found = []
    for rate in (0.0, 10.0):
        seed()
        model = nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=1e9)
        assert trainer._find_optimal_batch_size(BatchSource(DataLoader(Augmented(60), batch_size=10))) == 60
        assert not optimizer.state and all(parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_pre_hooks for module in model.modules())
        found.append([tensor.detach().clone() for tensor in model.state_dict().values()])
    assert len(found[0]) == 9 and all(map(torch.equal, *found))
    assert found[0][0].abs().sum() > 0 and int(found[0][6]) == 0, "initialised, and no batch counted"


def test_a_model_in_torchscript_is_put_back_too() -> None:
    seed()
    model = torch.jit.script(nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = everything(model, optimizer)
    trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=1e9)
    assert trainer._find_optimal_batch_size(BatchSource(DataLoader(Augmented(60), batch_size=10))) == 60
    assert everything(model, optimizer) == before


def test_training_is_as_it_would_have_been_without_trials(capsys: pytest.CaptureFixture[str]) -> None:
    def prepared() -> tuple[Model, torch.optim.Optimizer, DataLoader[Any]]:
        seed()
        model = Model()
        return (
            model,
            torch.optim.Adam(model.parameters()),
            DataLoader(Augmented(64), batch_size=16, shuffle=True),
        )

    model, optimizer, loader = prepared()
    trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=1e9)
    trainer.max_batch_size = 16
    mean = trainer.train_epoch(loader)

    other, optimizer, loader = prepared()
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(other(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert mean == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Using batch size: 16" and len(lines) == 2
    match = re.fullmatch(r"Batch 0, Loss: (\d+\.\d{4}), Memory: (\d+\.\d) MB", lines[1])
    assert match and match[1] == f"{losses[0]:.4f}"
    assert float(match[2]) == pytest.approx(MemoryMonitor.get_cpu_memory_mb(), abs=30)


def wide(length: int = 600, width: int = 1 << 16) -> tuple[nn.Module, DataLoader[Any], float]:
    """A model on the CPU of which each sample costs a known number of MB in a step: its two hidden
    activations, their gradients at the same time, and the sample."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.sin(x[:, None] * self.scale * torch.ones(width))
            return torch.sin(hidden * self.scale)[:, :2]

    dataset = TensorDataset(torch.randn(length), torch.zeros(length, dtype=torch.long))
    return Wide(), DataLoader(dataset, batch_size=8), width * 4 / MB


def resident_mb() -> float:
    """Without what was freed and not given back to the system."""
    gc.collect()
    return_free_memory()
    return MemoryMonitor.get_cpu_memory_mb()


def test_the_budget_of_a_model_on_the_cpu_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    model, loader, sample_mb = wide(length=200)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0))
    spare_mb = 100
    trainer.max_memory_mb = resident_mb() + spare_mb
    with HostPeak() as epoch:
        trainer.train_epoch(loader)
    size = trainer.current_batch_size
    assert f"Using batch size: {size}\n" in capsys.readouterr().out
    # A step holds from 4 to 8 tensors of the batch at its peak.
    assert spare_mb / (8 * sample_mb) * 0.7 < size < spare_mb / (4 * sample_mb) * 1.3
    assert epoch.peak_bytes is not None
    too_much = trainer._peak_of_step(BatchSource(loader), 2 * size)
    assert too_much is not None and too_much / MB > trainer.max_memory_mb


def test_a_larger_budget_gives_larger_batches(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for spare_mb in (30, 70, 1e9):
        model, loader, _ = wide(length=64)
        trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0))
        trainer.max_memory_mb = resident_mb() + spare_mb
        trainer.train_epoch(loader)
        sizes.append(trainer.current_batch_size)
    assert sizes == sorted(set(sizes)) and sizes[-1] == 64


def test_a_budget_that_nothing_fits_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    model, loader, _ = wide(length=40, width=16)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1)
    trainer.train_epoch(loader)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "No batch size from 8 to 40 fits 1 MB: using the smallest",
        "Using batch size: 8",
    ]


def test_a_batch_cannot_exceed_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    model, loader, _ = wide(length=5, width=16)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
    trainer.train_epoch(loader)
    assert trainer.current_batch_size == 5
    empty = DataLoader(TensorDataset(torch.zeros(0, 3)), batch_size=4)
    assert str(trainer.train_epoch(empty)) == "nan"


def test_a_trial_larger_than_the_loader_s_batches_is_made_of_its_dataset(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = set()
    model, loader, _ = wide(length=100, width=16)
    model.register_forward_pre_hook(lambda module, inputs: seen.add(len(inputs[0])))
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
    trainer.train_epoch(loader)
    assert max(seen) == trainer.current_batch_size == 100 > loader.batch_size  # type: ignore[operator]


def test_the_second_epoch_begins_where_the_first_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loader, _ = wide(length=400, width=16)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0))
    tried: list[int] = []

    def fits(source: Any, state: Any, size: int) -> bool:
        tried.append(size)
        return size <= 90

    monkeypatch.setattr(trainer, "_fits", fits)
    trainer.train_epoch(loader)
    assert trainer.current_batch_size == 90
    tried.clear()
    trainer.train_epoch(loader)
    assert trainer.current_batch_size == 90 and tried[0] == 90


def test_peak_memory_on_the_gpu_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The GPU is a stand-in that the forward pass fills and the end of the step has emptied: measured after
    # the step every batch would fit. The model itself is on the CPU.
    from tidegauge.monitor import adaptive_batch_trainer as module

    fake = FakeCuda()
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None, raising=False)
    monkeypatch.setattr(module, "cuda_devices_of", lambda model: [0])
    fake.alloc(10)

    class OnGpu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 200:
                raise FakeCuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            fake.alloc(len(x))
            fake.free(len(x))
            output: torch.Tensor = self.layer(x)
            return output

    model = OnGpu()
    dataset = TensorDataset(torch.zeros(600, 1), torch.zeros(600, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for budget_mb, expected in [(110, 100), (60, 50), (8000, 200)]:
        trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=budget_mb)
        trainer.train_epoch(DataLoader(dataset, batch_size=4))
        assert trainer.current_batch_size == expected
    assert "Memory: 10.0 MB" in capsys.readouterr().out


def test_other_errors_reach_the_caller_with_everything_put_back() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
            output: torch.Tensor = self.layer(x)
            return output

    model = Fails()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = everything(model, optimizer)
    loader = DataLoader(TensorDataset(torch.ones(100, 1), torch.zeros(100, dtype=torch.long)), batch_size=4)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        AdaptiveBatchTrainer(model, optimizer, max_memory_mb=1e9).train_epoch(loader)
    assert everything(model, optimizer) == before


def test_what_a_failed_trial_held_is_free_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive_at_entry: list[int] = []

    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            alive_at_entry.append(sum(reference() is not None for reference in held))
            activation = x.repeat(1, 100)
            held.append(weakref.ref(activation))
            if len(x) > 20:
                raise MemoryError
            output: torch.Tensor = self.layer(x)
            return output

    model = Hungry()
    loader = DataLoader(TensorDataset(torch.ones(100, 1), torch.zeros(100, dtype=torch.long)), batch_size=4)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
    trainer.train_epoch(loader)
    assert trainer.current_batch_size == 20
    assert set(alive_at_entry) == {0}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("x"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you …"
            ),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_out_of_memory_looks_like(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_lack_of_memory_on_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_batches_must_be_pairs() -> None:
    model = nn.Linear(1, 1)
    loader = DataLoader(TensorDataset(torch.ones(10, 1)), batch_size=2)
    with pytest.raises(TypeError, match=r"must yield \(x, y\), not list"):
        AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters()), 1e9).train_epoch(loader)


def test_a_loss_of_one_s_own_and_nested_batches(capsys: pytest.CaptureFixture[str]) -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
            output: torch.Tensor = self.layer(x["a"]) + x["b"]
            return output

    items = [({"a": torch.ones(2), "b": torch.zeros(1)}, torch.tensor([2.0])) for _ in range(12)]
    model = Nested()
    expected = nn.functional.mse_loss(
        model({"a": torch.ones(1, 2), "b": torch.zeros(1, 1)}), torch.tensor([[2.0]])
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = AdaptiveBatchTrainer(model, optimizer, 1e9, loss_function=nn.functional.mse_loss)
    assert trainer.train_epoch(DataLoader(copy.deepcopy(items), batch_size=4)) == pytest.approx(
        expected.item()
    )


def test_the_host_s_peak_within_a_stretch() -> None:
    with HostPeak() as quiet:
        pass
    with HostPeak() as peak:
        held = bytearray(b"x" * (200 * MB))
        del held
    assert peak.peak_bytes is not None and quiet.peak_bytes is not None
    assert (peak.peak_bytes - quiet.peak_bytes) / MB == pytest.approx(400, abs=220), "one or two copies of it"
