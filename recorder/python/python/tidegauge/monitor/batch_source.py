"""Batches of another size from the data of a loader, made as the loader makes its own."""

from __future__ import annotations

import itertools
from typing import Any


class BatchSource:
    """A `torch.utils.data.DataLoader` whose batch size can be chosen.

    Raises TypeError for a loader that has none to choose: one that batches nothing, one with a batch sampler
    of the program's own, or over a stream that can be read only once.
    """

    def __init__(self, loader: Any) -> None:
        from torch.utils.data import BatchSampler, IterableDataset

        self.loader = loader
        self._is_stream = isinstance(loader.dataset, IterableDataset)
        self._items: list[Any] = []
        self._loaders: dict[int, Any] = {}
        if self._is_stream and iter(loader.dataset) is loader.dataset:
            raise TypeError(
                "the loader's dataset can be read only once, and looking for a batch size reads from it"
            )
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
        try:
            # What an epoch of this loader draws: a share of the dataset, or some items more than once.
            drawn = len(self.loader.batch_sampler.sampler)
        except TypeError:
            drawn = len(self.loader.dataset)
        return int(min(wanted, drawn))

    def batch(self, size: int) -> Any:
        """A batch of that size, collated as the loader does it, of items spread over the dataset."""
        if self._is_stream:
            self._read(size)
            items = self._items[:size]
        else:
            dataset = self.loader.dataset
            # A sampler of a subset says of which; none is asked to draw, since that would change what it
            # draws next.
            drawn_from = getattr(self.loader.batch_sampler.sampler, "indices", None) or range(len(dataset))
            indices = [drawn_from[number * len(drawn_from) // size] for number in range(size)]
            fetch_all = getattr(dataset, "__getitems__", None)
            items = fetch_all(indices) if callable(fetch_all) else [dataset[index] for index in indices]
        return self.loader.collate_fn(items)

    def forget(self) -> None:
        """Lets go of what was read of a stream."""
        self._items = []

    def loader_of(self, size: int) -> Any:
        """The loader, with that batch size; everything else is as it was."""
        from torch.utils.data import DataLoader

        if size == self.loader.batch_size:
            return self.loader
        if size not in self._loaders:
            self._loaders = {size: DataLoader(self.loader.dataset, **self._settings(size))}
        return self._loaders[size]

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
        if len(self._items) < count:
            self._items = list(itertools.islice(iter(self.loader.dataset), count))
