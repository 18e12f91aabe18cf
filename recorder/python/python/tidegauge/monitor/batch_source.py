"""Batches of another size from the data of a loader, made as the loader makes its own."""

from __future__ import annotations

import itertools
from typing import Any

from .placement import map_tensors
from .resumed_stream import resumed_stream

#: What a loader is asked for; one that lacks any is none.
_NEEDED = (
    "dataset",
    "batch_size",
    "batch_sampler",
    "num_workers",
    "collate_fn",
    "pin_memory",
    "drop_last",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "generator",
)


class BatchSource:
    """A `torch.utils.data.DataLoader` whose batch size can be chosen.

    Raises TypeError for what is no such loader, and for one that has no batch size to choose: it batches
    nothing, or has a batch sampler of the program's own.

    A stream (`IterableDataset`) may be one that can be read only once. So it is read once for an epoch: what
    trials were made of is what the epoch's loader begins with. Where workers read it, theirs are copies of
    the dataset, and so are those that read for the trials.
    """

    def __init__(self, loader: Any) -> None:
        from torch.utils.data import BatchSampler, IterableDataset

        missing = [name for name in _NEEDED if not hasattr(loader, name)]
        if missing:
            raise TypeError(
                f"the loader must be a torch.utils.data.DataLoader, not {type(loader).__name__}: "
                f"it has no {missing[0]}"
            )
        self.loader = loader
        self._is_stream = isinstance(loader.dataset, IterableDataset)
        self._items: list[Any] = []
        #: What follows `_items` in the stream.
        self._rest: Any = None
        self._loaders: dict[int, Any] = {}
        if not self._is_stream and type(loader.batch_sampler) is not BatchSampler:
            raise TypeError(
                f"the loader's batches are not made of a batch size but by {loader.batch_sampler!r}"
            )
        if self._is_stream and loader.batch_size is None:
            raise TypeError("the loader does not batch: its dataset yields batches itself")

    def largest(self, wanted: int) -> int:
        """The largest batch size up to `wanted` that there is data for."""
        if self._is_stream:
            self._read(wanted)
            return min(wanted, len(self._items))
        return int(min(wanted, self._drawn()))

    def batch(self, size: int) -> Any:
        """A batch of that size, collated as the loader does it, of items spread over the dataset."""
        if self._is_stream:
            self._read(size)
            # Collators take parts out of the items that they are given.
            items = [map_tensors(lambda part: part, item) for item in self._items[:size]]
        else:
            dataset = self.loader.dataset
            # A sampler of a subset says of which; none is asked to draw, since that would change what it
            # draws next.
            drawn_from: Any = getattr(self.loader.batch_sampler.sampler, "indices", None)
            if not (hasattr(drawn_from, "__len__") and hasattr(drawn_from, "__getitem__")):
                drawn_from = range(len(dataset))
            indices = [drawn_from[number * len(drawn_from) // size] for number in range(size)]
            fetch_all = getattr(dataset, "__getitems__", None)
            items = fetch_all(indices) if callable(fetch_all) else [dataset[index] for index in indices]
        return self.loader.collate_fn(items)

    def without_single_rest(self, size: int) -> int:
        """That size, or the next below it with which the last batch of an epoch is not of one sample.

        Batch normalisation refuses such a batch. Where the loader's own size leaves one too it is the
        program's, and of a stream nobody knows how long it is.
        """
        if self._is_stream or self.loader.batch_sampler.drop_last:
            return size
        drawn = self._drawn()
        if drawn % self.loader.batch_sampler.batch_size == 1:
            return size
        return next((smaller for smaller in range(size, 1, -1) if drawn % smaller != 1), size)

    def loader_of(self, size: int) -> Any:
        """The loader of an epoch, with that batch size; everything else is as it was."""
        from torch.utils.data import DataLoader

        items, rest, self._items, self._rest = self._items, self._rest, [], None
        if rest is not None:
            return DataLoader(resumed_stream(items, rest), **self._settings(size))
        if size == self.loader.batch_size:
            return self.loader
        if size not in self._loaders:
            self._loaders = {size: DataLoader(self.loader.dataset, **self._settings(size))}
        return self._loaders[size]

    def _drawn(self) -> int:
        """What an epoch of this loader draws: a share of the dataset, or some items more than once."""
        try:
            return len(self.loader.batch_sampler.sampler)
        except TypeError:
            return len(self.loader.dataset)

    def _settings(self, size: int) -> dict[str, Any]:
        loader = self.loader
        settings: dict[str, Any] = {
            "batch_size": size,
            "num_workers": loader.num_workers,
            "collate_fn": loader.collate_fn,
            "pin_memory": loader.pin_memory,
            "drop_last": loader.drop_last,
            "timeout": loader.timeout,
            "worker_init_fn": loader.worker_init_fn,
            "multiprocessing_context": loader.multiprocessing_context,
            "generator": loader.generator,
        }
        if not self._is_stream:
            batch_sampler = loader.batch_sampler
            settings.update(sampler=batch_sampler.sampler, drop_last=batch_sampler.drop_last)
        if loader.num_workers > 0:
            settings.update(
                prefetch_factor=loader.prefetch_factor, persistent_workers=loader.persistent_workers
            )
        # Not in every version of torch, or on the way out.
        if hasattr(loader, "in_order"):
            settings["in_order"] = loader.in_order
        if getattr(loader, "pin_memory_device", ""):
            settings["pin_memory_device"] = loader.pin_memory_device
        return settings

    def _read(self, count: int) -> None:
        """Has `count` items of the stream at hand, if it has so many."""
        if len(self._items) >= count:
            return
        if self.loader.num_workers > 0:
            self._items = self._read_by_workers(count)
            return
        if self._rest is None:
            self._rest = iter(self.loader.dataset)
        self._items.extend(itertools.islice(self._rest, count - len(self._items)))

    def _read_by_workers(self, count: int) -> list[Any]:
        """Items as workers of this loader yield them: the dataset of this process stays unread."""
        import torch
        from torch.utils.data import DataLoader

        settings = self._settings(1)
        settings.update(
            batch_size=None,
            drop_last=False,
            collate_fn=_as_it_is,
            persistent_workers=False,
            pin_memory=False,
            # The seed of the workers is drawn from it, and the loader's own is to draw what it would have.
            generator=torch.Generator(),
        )
        return list(itertools.islice(DataLoader(self.loader.dataset, **settings), count))


def _as_it_is(item: Any) -> Any:
    return item
