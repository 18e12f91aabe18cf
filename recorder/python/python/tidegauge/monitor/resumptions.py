"""Drives a generator or coroutine with something around each stretch in which it runs.

Between two stretches other code of the same thread runs: the consumer of a generator, other tasks of an event
loop. Spans nest by thread, so that one which stayed open across a suspension would end what the others have
begun.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any


def resume_within(driven: Any, around: Callable[[], AbstractContextManager[Any]]) -> Generator[Any, Any, Any]:
    """As `yield from driven`, with `around()` entered for each `send`, `throw` and `close`.

    `driven` is a generator, a coroutine, or what an asynchronous generator gives to be awaited.
    """
    with around():
        try:
            yielded = driven.send(None)
        except StopIteration as stop:
            return stop.value
    while True:
        try:
            sent = yield yielded
        except GeneratorExit:
            with around():
                driven.close()
            raise
        except BaseException as error:
            with around():
                try:
                    yielded = driven.throw(error)
                except StopIteration as stop:
                    return stop.value
        else:
            with around():
                try:
                    yielded = driven.send(sent)
                except StopIteration as stop:
                    return stop.value
