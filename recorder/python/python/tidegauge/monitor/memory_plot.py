"""Draws memory over time as SVG: by the program `tidegauge` where it can, else here, plainly.

The program shows a trace with its phases and peaks. Without one there is a single curve, which needs no
library.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import trace

#: Endings of other image files, under which nothing would open a plot.
_NOT_SVG = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".pdf", ".eps", ".ps"}
#: What the program may take before the plot is drawn here.
_PROGRAM_SECONDS = 60.0
_TITLE = "Memory Usage Over Time"
_WIDTH, _HEIGHT = 960, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 88, 936, 72, 412
#: Points per pixel of the curve are at most twice this many: the lowest and the highest of each.
_BUCKETS = _RIGHT - _LEFT
#: Colours as in the program's plots, told apart by colour-blind readers too.
_INK, _MUTED, _GRID, _CURVE, _PEAK, _AVERAGE = (
    "#222222",
    "#666666",
    "#dddddd",
    "#0072b2",
    "#d55e00",
    "#009e73",
)


def write(
    readings: Sequence[tuple[float, float]], what: str, path: str | os.PathLike[str] | None
) -> str | None:
    """Writes the plot of `(seconds, MB)` and returns its path; None if no file can be written.

    `what` names the curve. Without a path it is a free name in the working directory; `x.png` becomes
    `x.svg`.
    """
    try:
        target = Path(path) if path is not None else _free_name()
        if target.suffix.lower() in _NOT_SVG:
            target = target.with_suffix(".svg")
        if _write_by_program(target):
            return str(target)
        target.write_text(svg(readings, what), encoding="utf-8")
        return str(target)
    except (OSError, ValueError):
        return None


def _free_name() -> Path:
    number = 1
    while True:
        path = Path("memory_usage.svg" if number == 1 else f"memory_usage-{number}.svg")
        if not path.exists():
            return path
        number += 1


def _write_by_program(target: Path) -> bool:
    import shutil
    import subprocess

    run = trace.run_path() if trace.is_open() else None
    program = shutil.which("tidegauge")
    if run is None or program is None:
        return False
    command = [program, "plot", "timeline", run, "--output", str(target), "--force", "--quiet"]
    try:
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return finished.returncode == 0 and target.exists()


def svg(readings: Sequence[tuple[float, float]], what: str) -> str:
    """The plot of `(seconds, MB)` pairs, of which there is at least one, as text."""
    held = [mb for _, mb in readings]
    lowest, highest, average = min(held), max(held), sum(held) / len(held)
    peak_at = next(at for at, mb in readings if mb == highest)
    # From 0 where that leaves the curve enough of the height; a flat curve high up would show nothing.
    spare = (highest - lowest) * 0.1 or max(highest * 0.01, 0.5)
    y_ticks = _ticks(0.0 if lowest < 0.7 * highest or highest == 0 else lowest - spare, highest + spare, 6)
    x_ticks = _ticks(0.0, max(readings[-1][0], 1e-3), 8)
    bottom, top, end = y_ticks[0], y_ticks[-1], max(readings[-1][0], 1e-3)

    def x(at: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * min(at / end, 1.0), 1)

    def y(mb: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (mb - bottom) / (top - bottom), 1)

    points = " ".join(f"{x(at)},{y(mb)}" for at, mb in _thinned(readings, end))
    summary = (
        f"maximum {highest:.2f} MB at {peak_at:.2f} s, average {average:.2f} MB, final {held[-1]:.2f} MB,"
        f" {len(held)} readings"
    )
    near_end = x(peak_at) > (_LEFT + _RIGHT) / 2
    label_x, anchor = (x(peak_at) - 8, "end") if near_end else (x(peak_at) + 8, "start")
    parts = [
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' xmlns="http://www.w3.org/2000/svg" role="img" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{_TITLE}</title>\n<desc>{_escaped(what)}: {summary}</desc>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(16, 28, _TITLE, _INK, size=18),
        _text(16, 50, f"{what}: {summary}", _MUTED),
        *(_rule(_LEFT, y(tick), _RIGHT, y(tick), _GRID) for tick in y_ticks),
        *(_rule(x(tick), _TOP, x(tick), _BOTTOM, _GRID) for tick in x_ticks if tick <= end),
        *(_text(_LEFT - 10, y(tick) + 4, _number(tick), _INK, "end") for tick in y_ticks),
        *(_text(x(tick), _BOTTOM + 20, _number(tick), _INK, "middle") for tick in x_ticks if tick <= end),
        _rule(_LEFT, _TOP, _LEFT, _BOTTOM, _MUTED),
        _rule(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, _MUTED),
        _text((_LEFT + _RIGHT) / 2, _BOTTOM + 46, "Time (seconds)", _INK, "middle"),
        f'<g transform="translate(24 {(_TOP + _BOTTOM) / 2}) rotate(-90)">'
        + _text(0, 0, "Memory Usage (MB)", _INK, "middle")
        + "</g>",
        f'<polyline fill="none" stroke="{_CURVE}" stroke-width="2" points="{points}"/>',
        f'<circle cx="{x(peak_at)}" cy="{y(highest)}" r="4" fill="{_PEAK}"/>',
        _text(label_x, y(highest) - 8, f"maximum {highest:.1f} MB", _PEAK, anchor),
        # Above the curve, and named outside of the frame, where no curve is.
        _rule(_LEFT, y(average), _RIGHT, y(average), _AVERAGE, ' stroke-dasharray="6 4" stroke-width="2"'),
        _rule(_RIGHT - 148, 24, _RIGHT - 116, 24, _AVERAGE, ' stroke-dasharray="6 4" stroke-width="2"'),
        _text(_RIGHT, 28, f"average {average:.1f} MB", _AVERAGE, "end"),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _thinned(readings: Sequence[tuple[float, float]], end: float) -> Iterator[tuple[float, float]]:
    """As many points as pixels can show: of each pixel the lowest and the highest, in their order."""
    if len(readings) <= 2 * _BUCKETS:
        yield from readings
        return
    bucket: list[tuple[float, float]] = []
    number = 0
    for reading in readings:
        at = math.floor(_BUCKETS * reading[0] / end)
        if at != number and bucket:
            yield from _extremes(bucket)
            bucket = []
        number = at
        bucket.append(reading)
    yield from _extremes(bucket)


def _extremes(bucket: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted({min(bucket, key=lambda reading: reading[1]), max(bucket, key=lambda reading: reading[1])})


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers, about `count` of them, from one at or below `low` to one at or above `high`."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{more}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", size: int = 12) -> str:
    # A white edge keeps it legible on a curve.
    look = f'font-size="{size}" fill="{colour}" stroke="#ffffff" stroke-width="3" paint-order="stroke"'
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {look}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    # `xml.sax.saxutils` would import urllib, http and ssl.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
