"""How long a decode step takes by its number of rows, learnt from the steps themselves."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import accumulate

_WINDOW = 9  # samples kept for a row count; their median shrugs off four outliers
_TRUSTED = 3  # samples that make an estimate
_REFRESH = 32  # steps between two looks at what was learnt
_STALE = 4096  # steps after which an estimate should be made again: contexts have grown since
# Until two row counts are known: what a CPU does. Too dear a guess costs a chance, too cheap a
# guess costs time.
_GUESSED_ROW = 0.6
_NOTICEABLE = 0.02  # the share by which an estimate may move before anybody is told


class StepCosts:
    """Seconds of a step of n rows. Medians where measured, straight lines between and beyond.

    Costs never fall as rows are added. `version` changes when an estimate has, noticeably.
    """

    def __init__(self) -> None:
        self._samples: dict[int, deque[float]] = {}
        self._noted_at: dict[int, int] = {}
        self._rows: list[int] = []
        self._seconds: list[float] = []
        self._steps = 0
        self.version = 0

    def note(self, rows: int, seconds: float) -> None:
        size = _bucket(rows)
        samples = self._samples.get(size)
        if samples is None:
            samples = self._samples[size] = deque(maxlen=_WINDOW)
        samples.append(seconds)
        self._steps += 1
        self._noted_at[size] = self._steps
        if len(samples) == _TRUSTED or self._steps % _REFRESH == 0:
            self._refresh()

    @property
    def is_empty(self) -> bool:
        return not self._rows

    @property
    def most_rows(self) -> int:
        """The largest number of rows with an estimate of its own; 0 before the first."""
        return self._rows[-1] if self._rows else 0

    def is_known(self, rows: int) -> bool:
        """Whether that many rows were measured, and not too long ago."""
        size = _bucket(rows)
        samples = self._samples.get(size, ())
        return len(samples) >= _TRUSTED and self._steps - self._noted_at[size] < _STALE

    def seconds(self, rows: int) -> float:
        """What a step of so many rows is expected to take. There must be an estimate."""
        known, seconds = self._rows, self._seconds
        at = bisect_left(known, rows)
        if at < len(known) and known[at] == rows:
            return seconds[at]
        if len(known) == 1:
            return seconds[0] * _guess(rows) / _guess(known[0])
        at = min(max(at, 1), len(known) - 1)
        slope = (seconds[at] - seconds[at - 1]) / (known[at] - known[at - 1])
        line = seconds[at - 1] + slope * (rows - known[at - 1])
        return max(line, seconds[0] * min(1.0, rows / known[0]))

    def _refresh(self) -> None:
        rows = sorted(size for size, own in self._samples.items() if len(own) >= _TRUSTED)
        medians = [sorted(self._samples[size])[len(self._samples[size]) // 2] for size in rows]
        seconds = list(accumulate(medians, max))
        is_same = rows == self._rows and all(
            abs(new - old) < _NOTICEABLE * old
            for new, old in zip(seconds, self._seconds, strict=True)
        )
        if not is_same:
            self._rows, self._seconds = rows, seconds
            self.version += 1


def _guess(rows: int) -> float:
    return 1.0 - _GUESSED_ROW + _GUESSED_ROW * rows


def _bucket(rows: int) -> int:
    """Large steps are told apart by eights only."""
    return rows if rows <= 16 else -(-rows // 8) * 8
