"""Whether a data loader has another batch, asked of torch's own samplers only.

The length of a sampler of the program's may cost as much as an epoch, and may draw random numbers: such a
sampler is never asked.
"""

from __future__ import annotations

import weakref
from typing import Any

#: Modules whose samplers tell their length at no cost, and change nothing by it.
_KNOWN = ("torch.utils.data.sampler", "torch.utils.data.distributed", "accelerate.data_loader")
_COLLECTIONS = (list, tuple, range)


class LoaderLengths:
    """How many batches iterators of data loaders bring, each asked once."""

    def __init__(self) -> None:
        self._lengths: weakref.WeakKeyDictionary[Any, int | None] = weakref.WeakKeyDictionary()

    def has_more(self, iterator: Any) -> bool | None:
        """Whether a data loader's iterator has another batch; None where that is not known."""
        try:
            yielded = iterator._num_yielded
            # Iterators with workers that stay are used again for the next epoch.
            if yielded == 0 or iterator not in self._lengths:
                self._lengths[iterator] = _length(iterator._index_sampler)
            length = self._lengths[iterator]
            return None if length is None else bool(yielded < length)
        except Exception:
            return None


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler) if _is_known(sampler) else None
    except Exception:  # a data set that does not know its length
        return None


def _is_known(sampler: Any) -> bool:
    if type(sampler) in _COLLECTIONS:
        return True
    if type(sampler).__module__ not in _KNOWN:
        return False
    attributes = vars(sampler)
    inner = (attributes.get(name) for name in ("sampler", "batch_sampler"))
    return all(_is_known(one) for one in inner if one is not None)
