"""Writes a tensor's chunks in order, each hashed and written by a thread while the next is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from mergeometry.deferred import Float, Tensor, torch


class WriteBehind:
    """Collects pieces into chunks of ``size`` entries, and hands each to ``write`` with the number of its first entry.

    Two buffers take turns. `finish` writes the rest, and raises what a write has raised; leaving the block without it
    waits for what is being written.
    """

    def __init__(
        self, size: int, dtype: torch.dtype, elements: int, write: Callable[[int, Float[Tensor, " count"]], None]
    ) -> None:
        self._write, self._first, self._filled = write, 0, 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind") if elements > size else None
        self._buffers = [torch.empty(min(size, elements), dtype=dtype) for _ in range(2 if self._thread else 1)]
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def room(self, count: int) -> Float[Tensor, " count"]:
        """Memory for the next ``count`` entries, to be filled before the next call."""
        if self._filled + count > self._buffers[0].numel():
            self._hand_over()
        place = self._buffers[0][self._filled : self._filled + count]
        self._filled += count
        return place

    def finish(self) -> None:
        """Write what is left, and return once all is written."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        chunk, first = self._buffers[0][: self._filled], self._first
        self._first, self._filled = first + self._filled, 0
        if self._thread is None:
            self._write(first, chunk)
            return
        self._wait()
        self._writing = self._thread.submit(self._write, first, chunk)
        self._buffers.reverse()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
