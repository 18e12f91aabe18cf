"""How much a reading grows from one evaluation to the next, told from few of them."""

from __future__ import annotations

#: Readings that are kept; when there are more, every second one goes.
_KEPT = 64


class Growth:
    """The median of the slopes between all pairs of readings (Theil and Sen): a spike is not growth."""

    def __init__(self) -> None:
        self._readings: list[tuple[int, float]] = []
        self._stride = 1
        self._last: tuple[int, float] | None = None

    def add(self, number: int, value: float) -> None:
        """The reading at evaluation `number`, which rises from call to call."""
        self._last = (number, value)
        if number % self._stride:
            return
        self._readings.append(self._last)
        if len(self._readings) > _KEPT:
            self._stride *= 2
            self._readings = [reading for reading in self._readings if reading[0] % self._stride == 0]

    def per_evaluation(self) -> float | None:
        """What an evaluation adds; None with fewer than two."""
        readings = list(self._readings)
        if self._last is not None and self._last not in readings:
            readings.append(self._last)
        slopes = [
            (later - earlier) / (after - before)
            for place, (before, earlier) in enumerate(readings)
            for after, later in readings[place + 1 :]
            if after != before
        ]
        if not slopes:
            return None
        # `statistics` takes longer to import than all monitors.
        slopes.sort()
        middle = len(slopes) // 2
        return slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2
