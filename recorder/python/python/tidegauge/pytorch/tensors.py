"""Tensors and the blocks that they lie in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

#: A batch that holds more tensors than this is looked at no further.
MOST_TENSORS = 256
_PLAIN = (Tensor, Parameter)


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


def tensors_in(value: Any, depth: int = 4) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, mappings and objects like a batch of Hugging Face's, in their
    order.
    """
    if isinstance(value, Tensor):
        yield value
    elif depth == 0 or isinstance(value, (str, bytes)):
        return
    elif isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "values")):
        for item in list(value.values())[:MOST_TENSORS]:
            yield from tensors_in(item, depth - 1)
    elif isinstance(value, (tuple, list)):
        for item in value[:MOST_TENSORS]:
            yield from tensors_in(item, depth - 1)


def leading_dimension(value: Any) -> int | None:
    """Of the first tensor that has dimensions."""
    for tensor in tensors_in(value):
        if tensor.dim() > 0:
            return int(tensor.shape[0])
    return None
