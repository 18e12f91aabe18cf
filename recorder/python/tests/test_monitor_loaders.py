"""`BatchSource`: a loader with another batch size, all else as it was, and which loaders have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from tidegauge.monitor import AdaptiveBatchTrainer
from tidegauge.monitor.batch_source import BatchSource
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset


def collate(items: list[Any]) -> Any:
    x, y = torch.utils.data.default_collate(items)
    return x, y, "mine"


def test_the_loader_keeps_its_settings() -> None:
    dataset = TensorDataset(torch.arange(50.0)[:, None], torch.arange(50))
    order, seeds = torch.Generator().manual_seed(3), torch.Generator()
    sampler = torch.utils.data.RandomSampler(dataset, generator=order)
    original = DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=1,
        collate_fn=collate,
        drop_last=True,
        timeout=30,
        generator=seeds,
        prefetch_factor=3,
        multiprocessing_context="spawn",
        in_order=False,
    )
    source = BatchSource(original)
    made = source.loader_of(12)
    for name in (
        "dataset",
        "sampler",
        "num_workers",
        "collate_fn",
        "drop_last",
        "timeout",
        "generator",
        "pin_memory",
        "prefetch_factor",
        "multiprocessing_context",
        "persistent_workers",
        "worker_init_fn",
        "in_order",
    ):
        assert getattr(made, name) is getattr(original, name) or getattr(made, name) == getattr(
            original, name
        ), name
    assert made.batch_size == 12 and source.loader_of(12) is made and source.loader_of(4) is original
    state = order.get_state()
    x, y, mark = source.batch(20)
    assert x.shape == (20, 1) and mark == "mine" and len(set(y.tolist())) == 20
    assert torch.equal(order.get_state(), state), "a trial does not change what the sampler draws next"


def test_batches_of_a_subset_are_of_the_subset() -> None:
    dataset = TensorDataset(torch.arange(50), torch.arange(50))
    source = BatchSource(DataLoader(dataset, batch_size=4, sampler=SubsetRandomSampler([3, 5, 7, 9])))
    assert source.largest(100) == 4
    assert sorted(source.batch(4)[0].tolist()) == [3, 5, 7, 9]


class Stream(IterableDataset[Any]):
    """Can be read again and again."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.full((1,), float(number)), number % 2) for number in range(30)])


class Opened(IterableDataset[Any]):
    """Yields what is left of an iterator that was opened once."""

    def __init__(self, length: int) -> None:
        self.opened = iter([(torch.full((1,), float(number)), number % 2) for number in range(length)])

    def __iter__(self) -> Iterator[Any]:
        yield from self.opened


class ItsOwn(Opened):
    """Is its own iterator."""

    def __iter__(self) -> Iterator[Any]:
        return self  # type: ignore[return-value]

    def __next__(self) -> Any:
        return next(self.opened)


def test_a_stream_is_batched_too() -> None:
    source = BatchSource(DataLoader(Stream(), batch_size=4))
    assert source.largest(20) == 20 and source.largest(512) == 30
    assert source.batch(30)[0].shape == (30, 1)
    assert [len(y) for _, y in source.loader_of(12)] == [12, 12, 6]


def train(loader: Any, size: int = 64, model: Any = None) -> tuple[AdaptiveBatchTrainer, list[list[float]]]:
    """The trainer, and the batches that an epoch of it trained on."""
    model = model or torch.nn.Linear(1, 2)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
    trainer.max_batch_size = size
    batches: list[list[float]] = []
    train_on = trainer._train_on

    def noted(batch: Any) -> Any:
        batches.append(batch[0].flatten().tolist())
        return train_on(batch)

    peak_of_step = trainer._peak_of_step

    def not_noted(source: BatchSource, size: int) -> Any:
        before = len(batches)
        peak_bytes = peak_of_step(source, size)
        del batches[before:]
        return peak_bytes

    trainer._train_on, trainer._peak_of_step = noted, not_noted  # type: ignore[method-assign]
    trainer.train_epoch(loader)
    return trainer, batches


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [Opened, ItsOwn])
def test_a_stream_that_can_be_read_once_is_trained_on_in_full(kind: Any, workers: int) -> None:
    loader = DataLoader(kind(400), batch_size=32, num_workers=workers)
    trainer, batches = train(loader)
    assert [len(batch) for batch in batches] == [64] * 6 + [16]
    assert sum(batches, []) == list(map(float, range(400)))
    if workers == 0:
        assert str(trainer.train_epoch(loader)) == "nan", "as without trials: it is at its end"


def test_a_stream_is_read_again_for_the_next_epoch() -> None:
    loader = DataLoader(Stream(), batch_size=4)
    trainer, batches = train(loader, size=8)
    trainer.train_epoch(loader)
    assert sum(batches, []) == 2 * list(map(float, range(30)))


def test_an_error_in_a_trial_loses_nothing_of_a_stream() -> None:
    class Fails(torch.nn.Linear):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Fails.calls += 1
            if Fails.calls == 2:
                raise RuntimeError("shapes do not match")
            return super().forward(x)

    model = Fails(1, 2)
    trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
    loader = DataLoader(Opened(100), batch_size=4)
    with pytest.raises(RuntimeError, match="do not match"):
        trainer.train_epoch(loader)
    seen: list[float] = []
    trainer.min_batch_size = trainer.max_batch_size = trainer.current_batch_size = 10
    model.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0].flatten().tolist()))
    trainer.train_epoch(loader)
    assert seen[10:] == list(map(float, range(100))), "the first ten are a trial's"


def test_a_collator_may_take_items_apart() -> None:
    def taking(items: list[Any]) -> Any:
        y = torch.tensor([item.pop("label") for item in items])
        return torch.stack([item["x"] for item in items]), y

    class Dicts(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([{"x": torch.full((1,), float(number)), "label": 0} for number in range(40)])

    _, batches = train(DataLoader(Dicts(), batch_size=4, collate_fn=taking), size=16)
    assert sum(batches, []) == list(map(float, range(40)))


@pytest.mark.parametrize("array", [torch.tensor, numpy.array])
def test_indices_of_a_subset_may_be_an_array(array: Any) -> None:
    dataset = TensorDataset(torch.arange(50.0)[:, None], torch.zeros(50, dtype=torch.long))
    indices = array(list(range(10, 30)))
    loader = DataLoader(dataset, batch_size=4, sampler=SubsetRandomSampler(indices))
    assert BatchSource(loader).batch(20)[0].flatten().tolist() == list(map(float, range(10, 30)))
    assert sorted(sum(train(loader, size=16)[1], [])) == list(map(float, range(10, 30)))


@pytest.mark.parametrize(
    ("samples", "own", "most", "chosen"),
    [
        (513, 32, 512, 512),  # the loader's own batches leave one as well
        (513, 30, 512, 511),
        (513, 30, 600, 513),
        (41, 9, 8, 7),  # below the smallest: 8 would leave one
        (3, 3, 2, 2),  # there is no size below
        (40, 32, 20, 20),
    ],
)
def test_a_last_batch_of_one_is_avoided(samples: int, own: int, most: int, chosen: int) -> None:
    dataset = TensorDataset(torch.rand(samples, 1), torch.zeros(samples, dtype=torch.long))
    loader = DataLoader(dataset, batch_size=own)
    model = torch.nn.Linear(1, 2)
    trainer, batches = train(loader, size=most, model=model)
    assert trainer.current_batch_size == chosen == len(batches[0])
    dropping = BatchSource(DataLoader(dataset, batch_size=own, drop_last=True))
    assert dropping.without_single_rest(most) == most


def test_batch_normalisation_is_trained_with_the_largest_batch() -> None:
    dataset = TensorDataset(torch.rand(513, 1), torch.zeros(513, dtype=torch.long))
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.BatchNorm1d(2))
    _, batches = train(DataLoader(dataset, batch_size=30), size=512, model=model)
    assert list(map(len, batches)) == [511, 2]


@pytest.mark.parametrize("loader", [[(torch.ones(1, 1), torch.zeros(1))], iter([]), None, range(3)])
def test_what_is_no_loader_is_refused(loader: Any) -> None:
    with pytest.raises(
        TypeError, match=f"must be a torch.utils.data.DataLoader, not {type(loader).__name__}"
    ):
        train(loader)


@pytest.mark.parametrize(
    ("loader", "part"),
    [
        (DataLoader(Stream(), batch_size=None), "yields batches itself"),
        (DataLoader(TensorDataset(torch.ones(4)), batch_size=None), "not made of a batch size"),
        (
            DataLoader(TensorDataset(torch.ones(4)), batch_sampler=[[0, 1], [2, 3]]),
            "not made of a batch size",
        ),
    ],
)
def test_a_loader_without_a_batch_size_is_refused(loader: DataLoader[Any], part: str) -> None:
    with pytest.raises(TypeError, match=part):
        BatchSource(loader)


def test_a_plain_batch_sampler_is_none_of_the_program_s_own() -> None:
    dataset = TensorDataset(torch.ones(10), torch.ones(10))
    sampler = BatchSampler(torch.utils.data.SequentialSampler(dataset), 3, drop_last=True)
    made = BatchSource(DataLoader(dataset, batch_sampler=sampler)).loader_of(4)
    assert [len(x) for x, _ in made] == [4, 4]
