"""`@monitor_memory(name)`: what each call of a function does to memory."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from . import trace
from .block_memory import BlockMemory
from .resumptions import resume_within
from .track_memory import track_memory

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def monitor_memory(name: Function) -> Function: ...
@overload
def monitor_memory(
    name: str | None = None, device: Any = None, verbose: bool = True
) -> Callable[[Function], Function]: ...


def monitor_memory(name: Any = None, device: Any = None, verbose: bool = True) -> Any:
    """Has each call of a function print what `track_memory` prints of a block, unless `verbose=False`.

    Without a name it is the function's. Of an asynchronous function it is told once it has ended, from
    beginning to end, other tasks included; of a generator, asynchronous or not, once it is exhausted or
    closed, and only of the stretches in which it ran itself, not of what its consumer did in between. In the
    trace each stretch is a span. Results, exceptions and what is sent into a generator pass through. Raises
    TypeError for what cannot be called, such as a `classmethod`: put the decorator below that one.
    """
    if callable(name) and not isinstance(name, str):
        return _monitored(name, None, device, verbose)

    def decorate(function: Any) -> Any:
        return _monitored(function, name, device, verbose)

    return decorate


def _monitored(function: Any, name: str | None, device: Any, verbose: bool) -> Any:
    if not callable(function):
        raise TypeError(f"monitor_memory decorates functions, not {type(function).__name__}: {function!r}")
    label = str(name or getattr(function, "__name__", type(function).__name__))
    if inspect.isasyncgenfunction(function):
        return _async_generator_function(function, label, device, verbose)
    if inspect.iscoroutinefunction(function):
        return _coroutine_function(function, label, device, verbose)
    if inspect.isgeneratorfunction(function):
        return _generator_function(function, label, device, verbose)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with track_memory(label, device, verbose):
            return function(*args, **kwargs)

    return call


@contextmanager
def _stretch(block: BlockMemory) -> Iterator[None]:
    """The part of a call from one suspension to the next."""
    with trace.span(block.name):
        block.begin()
        try:
            yield
        finally:
            block.end()


def _generator_function(function: Any, label: str, device: Any, verbose: bool) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        block = BlockMemory(label, device)
        try:
            return (yield from resume_within(function(*args, **kwargs), lambda: _stretch(block)))
        finally:
            if verbose:
                block.print()

    return call


@types.coroutine
def _with_spans(awaited: Any, label: str) -> Generator[Any, Any, Any]:
    return (yield from resume_within(awaited, lambda: trace.span(label)))


def _coroutine_function(function: Any, label: str, device: Any, verbose: bool) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        block = BlockMemory(label, device)
        block.begin()
        try:
            return await _with_spans(function(*args, **kwargs), label)
        finally:
            block.end()
            if verbose:
                block.print()

    return call


def _async_generator_function(function: Any, label: str, device: Any, verbose: bool) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        block = BlockMemory(label, device)
        generator = function(*args, **kwargs)

        async def stretch(awaited: Any) -> Any:
            block.begin()
            try:
                return await _with_spans(awaited, label)
            finally:
                block.end()

        try:
            produced = await stretch(generator.asend(None))
            while True:
                try:
                    sent = yield produced
                except GeneratorExit:
                    await stretch(generator.aclose())
                    raise
                except BaseException as error:
                    produced = await stretch(generator.athrow(error))
                else:
                    produced = await stretch(generator.asend(sent))
        except StopAsyncIteration:
            return
        finally:
            if verbose:
                block.print()

    return call
