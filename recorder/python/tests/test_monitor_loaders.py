"""`BatchSource`: a loader with another batch size, all else as it was, and which loaders have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
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


class Once(Stream):
    """Is its own iterator."""

    def __iter__(self) -> Iterator[Any]:
        return self  # type: ignore[return-value]

    def __next__(self) -> Any:
        raise StopIteration


def test_a_stream_is_batched_too() -> None:
    source = BatchSource(DataLoader(Stream(), batch_size=4))
    assert source.largest(20) == 20 and source.largest(512) == 30
    assert source.batch(30)[0].shape == (30, 1)
    assert [len(y) for _, y in source.loader_of(12)] == [12, 12, 6]


@pytest.mark.parametrize(
    ("loader", "part"),
    [
        (DataLoader(Once(), batch_size=4), "only once"),
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
