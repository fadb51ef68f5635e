"""How far the demo is: bytes fetched, then texts scored, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done or has just been done, in words; how much of all ``unit`` is done; seconds left if known."""

    doing: str
    done: int
    total: int
    unit: str
    seconds_left: float | None = None


Say = Callable[[Progress], None]


class Pace:
    """Estimates the time left from what is done and what is due, both in estimated seconds, by this run's own pace.

    ``start`` of the ``seconds`` pass before the first step is finished.
    """

    def __init__(self, seconds: float, start: float, now: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._start = seconds, 0.0, start
        self._now = now
        self._began = now()

    def finish(self, seconds: float) -> None:
        """A step of so many estimated seconds is done."""
        self._done += seconds

    def spare(self, seconds: float) -> None:
        """A step of so many estimated seconds is not needed."""
        self._total -= seconds

    def seconds_left(self) -> float:
        """Seconds until all is done; before the first step is done, by the estimate alone."""
        elapsed = self._now() - self._began
        if self._done == 0:
            return max(0.0, self._total - elapsed)
        done = self._start + self._done
        return elapsed * max(0.0, self._total - done) / done
