"""A stream that has been read from already, as a dataset of what was read and what follows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any


def resumed_stream(items: list[Any], rest: Iterator[Any]) -> Any:
    """A `torch.utils.data.IterableDataset`, to be read once."""
    from torch.utils.data import IterableDataset

    class ResumedStream(IterableDataset[Any]):
        """Lets go of each item that it has given."""

        def __iter__(self) -> Iterator[Any]:
            waiting = deque(items)
            items.clear()
            while waiting:
                yield waiting.popleft()
            yield from rest

    return ResumedStream()
