"""Reads tensors of one shape in step, a piece at a time: a thread reads and hashes the next while one is in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mergeometry.deferred import Shaped, Tensor, torch
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.sources import TensorInfo
from mergeometry.sources.formed import FormedTensor


class ReadAhead:
    """Pieces of ``step`` entries of several tensors, from the first to the last; iterate as often as needed.

    Reading and hashing release the interpreter, so that both overlap with the arithmetic on the piece before. There is
    memory for ``room`` entries of each tensor, two pieces at least: where that is all of them, each is read once;
    elsewhere a piece is valid until the next but one is asked for.
    """

    def __init__(
        self, inputs: TaskReader, reader: Reads, sources: Sequence[tuple[str, TensorInfo]], step: int, room: int = 0
    ) -> None:
        self._inputs, self._reader, self._sources, self._step = inputs, reader, sources, step
        self._elements = sources[0][1].elements
        self._room = self._elements if self._elements <= max(room, 2 * step) else 2 * step
        self._buffers = [torch.empty(self._room, dtype=info.dtype) for _, info in sources]
        self._there = 0
        """Entries from the first on that were read, and stay."""
        self._begun: list[Tensor] | None = None
        """The first piece, once it was read beforehand."""

    def begin(self) -> None:
        """Read the first piece, or all pieces where they stay, before they are asked for.

        Raises:
            SourceError: an input changed or ends early.
        """
        if not self.reads_once:
            self._begun = self._piece(0)
            return
        for first in range(self._there, self._elements, self._step):
            self._piece(first)

    @property
    def whole(self) -> list[Shaped[Tensor, " elements"]]:
        """The entries of every tensor, where all were read and stay."""
        assert self.reads_once and self._there == self._elements
        return self._buffers

    @property
    def reads_once(self) -> bool:
        """Whether all that was read stays."""
        return self._room == self._elements

    def __iter__(self) -> Iterator[tuple[int, list[Shaped[Tensor, " count"]]]]:
        """Each piece: the number of its first entry, and the entries of every tensor as they are stored.

        Raises:
            SourceError: an input changed or ends early.
        """
        formed = any(isinstance(info, FormedTensor) for _, info in self._sources)
        if self._elements <= self._step or self._there == self._elements or formed:
            # What is formed takes arithmetic, which stays in the thread that the thread policy was set for.
            for first in range(0, max(1, self._elements), self._step):
                yield first, self._piece(first)
            return
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as thread:
            piece, self._begun = self._begun or thread.submit(self._piece, 0).result(), None
            for first in range(0, self._elements, self._step):
                following = first + self._step
                coming = thread.submit(self._piece, following) if following < self._elements else None
                yield first, piece
                if coming is not None:
                    piece = coming.result()

    def _piece(self, first: int) -> list[Tensor]:
        last = min(first + self._step, self._elements)
        start = first % max(1, self._room)
        pieces = [buffer[start : start + last - first] for buffer in self._buffers]
        if 0 < last <= self._there:
            return pieces
        for (label, info), piece in zip(self._sources, pieces, strict=True):
            self._reader.read_into(info, first, last, piece)
            self._inputs.hash(label, info, info.start + first * piece.itemsize, piece)
        if self.reads_once:
            self._there = last
        return pieces
