"""How monitors print: to standard output, and never into the way of the training."""

from __future__ import annotations

import sys

from .memory_reading import MemoryReading


def print_line(text: str) -> None:
    """Prints a line; where the terminal's encoding lacks a character (`→` in ASCII) an escape stands for it.

    A standard output that is closed, full or broken, or an object of the program's own that fails, loses the
    line: training goes on.
    """
    try:
        try:
            print(text)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding))
    except Exception:
        pass


def label_of(prefix: str) -> str:
    """A prefix without the colon and the space that it may have come with."""
    label = str(prefix).rstrip()
    return label[:-1].rstrip() if label.endswith(":") else label


def with_prefix(prefix: str, text: str) -> str:
    """`PREFIX: text`; just the text after an empty prefix."""
    label = label_of(prefix)
    return f"{label}: {text}" if label else text


def memory_line(reading: MemoryReading) -> str:
    """`CPU: x MB | GPU Allocated: y MB | GPU Reserved: z MB`."""
    return (
        f"CPU: {reading.cpu_mb:.1f} MB | GPU Allocated: {reading.gpu_allocated_mb:.1f} MB"
        f" | GPU Reserved: {reading.gpu_reserved_mb:.1f} MB"
    )
