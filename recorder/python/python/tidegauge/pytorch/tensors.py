"""Tensors and the blocks that they lie in."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

#: So many tensors of a batch are looked at, and so many values in search of them.
MOST_TENSORS = 256
MOST_VALUES = 4096
_PLAIN = (Tensor, Parameter)
_LEAVES = frozenset((int, float, bool, str, bytes, type(None)))
#: Packages whose batches are mappings of their own kind, which read what they hold and compute nothing.
_PACKAGES = frozenset(("tensordict", "torch_geometric"))


def block_of(tensor: Any) -> tuple[int, int] | None:
    """Device (−1 the host) and address of the block that a tensor lies in; None if it lies in none.

    Several tensors can lie in one block: views, tied weights. Tensors of other kinds (fake, sparse, of a
    subclass that has no storage) lie in none.
    """
    try:
        if tensor.layout is not torch.strided:
            return None
        address = tensor.untyped_storage().data_ptr()
        return (tensor.get_device(), address) if address else None
    except Exception:
        return None


def dense_parts(tensor: Any) -> tuple[Any, ...]:
    """The tensors that hold the elements: of a sparse one its indices and values, of a subclass what it
    wraps.
    """
    if type(tensor) in _PLAIN and tensor.layout is torch.strided:
        return (tensor,)
    try:
        if tensor.layout is torch.sparse_coo:
            return (tensor._indices(), tensor._values())
        flatten = getattr(type(tensor), "__tensor_flatten__", None)
        if flatten is not None:
            names, _ = tensor.__tensor_flatten__()
            return tuple(getattr(tensor, name) for name in names)
    except Exception:
        return ()
    return (tensor,)


def tensors_in(value: Any, depth: int = 4, most: int = MOST_TENSORS) -> list[Tensor]:
    """The tensors in nested tuples, lists, dictionaries and batches of Hugging Face's, in their order.

    Told by types alone, and read past what a subclass has overridden: asking an object what it is, or a lazy
    mapping for what it holds, would run the program's own code, and a proxy of FX would record the question.
    Raises nothing.
    """
    found: list[Tensor] = []
    _find((value,), depth + 1, found, most, MOST_VALUES)
    return found


def _find(items: Sequence[Any], depth: int, found: list[Tensor], most: int, left: int) -> int:
    """Adds the tensors in `items` to `found` until there are `most`; looks at `left` values, and returns how
    many of these are left.
    """
    if len(items) > left:
        items = items[:left]
    left -= len(items)
    for item in items:
        kind = type(item)
        if kind is Tensor or issubclass(kind, Tensor):
            found.append(item)
            if len(found) >= most:
                return 0
        elif depth > 1 and kind not in _LEAVES:
            within = item if kind is tuple else _items(item, kind, left)
            if within and left > 0:
                left = _find(within, depth - 1, found, most, left)
    return left


def _items(value: Any, kind: type, most: int) -> Sequence[Any]:
    """What a container holds; nothing of what is none."""
    if kind is list:
        return list(value[:most])
    try:
        # A named tuple may have fields `keys` and `values`.
        if issubclass(kind, tuple):
            return tuple(islice(tuple.__iter__(value), most))
        if issubclass(kind, list):
            return tuple(islice(list.__iter__(value), most))
        if issubclass(kind, UserDict):
            value = object.__getattribute__(value, "__dict__").get("data")
            kind = type(value)
        if issubclass(kind, dict):
            return tuple(islice(dict.values(value), most))
        if any(base.__module__.partition(".")[0] in _PACKAGES for base in kind.__mro__):
            return tuple(islice(value.values(), most))
    except Exception:  # one of those packages', or changed by another thread meanwhile
        pass
    return ()


def leading_dimension(value: Any) -> int | None:
    """Of the first tensor that has dimensions."""
    for tensor in tensors_in(value):
        try:
            if tensor.dim() > 0:
                # A nested tensor has a size in this dimension, but no shape.
                return int(tensor.size(0))
        except Exception:  # a size that is not known
            continue
    return None
