"""Progress in a notebook: a bar below the cell that runs."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mergeometry.progress import about, duration, tensor_by_tensor

if TYPE_CHECKING:
    from mergeometry.plan import Plan, TensorTask

_APART = 0.2
"""Seconds between two updates: a browser needs no more."""


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook; a program that has not imported IPython does not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


def merging(plan: Plan) -> Callable[[TensorTask], None]:
    """Show a bar, and give the function that moves it with each finished tensor."""
    return tensor_by_tensor(plan, Bar())


class Bar:
    """A bar of HTML that is updated in place; it draws on the display of the cell that made it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from IPython.display import display  # noqa: PLC0415  (only a notebook has it)

        self._clock = clock
        self._started = self._drawn = clock()
        self._handle: Any = display(_Drawn("", "planning the merge", 0.0, 1.0), display_id=True)

    def __call__(self, text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
        """Move it, a few times a second at most and always at the end."""
        now = self._clock()
        if done < total and now - self._drawn < _APART:
            return
        self._drawn = now
        elapsed = now - self._started
        left = "" if done <= 0 else f", {about((total - done) * elapsed / done)} left"
        words = f"{text} {count}{left}" if done < total else f"{text} {count}, {duration(elapsed)}"
        self._handle.update(_Drawn(item, words, done, total))


class _Drawn:
    """One state of the bar, for browsers as HTML and for all else as text."""

    def __init__(self, item: str, words: str, done: float, total: float) -> None:
        self._item, self._words, self._done, self._total = item, words, done, total

    def __repr__(self) -> str:
        return self._words

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self._done:.6g}" max="{self._total:.6g}" style="width: 20em"></progress>'
        words = html.escape(self._words)
        item = f" <code>{html.escape(self._item)}</code>" if self._item and self._done < self._total else ""
        return f"{bar} {words}{item}"
