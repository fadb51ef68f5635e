"""The base's weights and the task vectors of one tensor, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from mergeometry.deferred import Float, Shaped, Tensor, torch
from mergeometry.dtypes import compute_dtype
from mergeometry.execution.finite import surely_finite
from mergeometry.execution.read_ahead import ReadAhead
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.linalg.sampling import SAMPLED_ELEMENTS, blocks_of, sampled_blocks, spread_sample
from mergeometry.methods.families.cost import HELD_BYTES
from mergeometry.plan.reading import chunk_of, is_read_once
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import AdapterDelta, TensorInfo
from mergeometry.sources.formed import FormedTensor


class Pieces:
    """The base's weights and the task vectors of one tensor, some entries at a time, in memory that is used again."""

    def __init__(self, task: TensorTask, inputs: TaskReader, reader: Reads) -> None:
        assert task.method is not None
        self.task, self.inputs, self._reader = task, inputs, reader
        weights = [1.0] * len(task.weights) if task.weighs_first else task.weights
        self.piecewise = task.method.piecewise(weights, task.shape)
        self._piece = max(1, self.piecewise.step)
        self._dtype = compute_dtype(task.base.code)
        self._dense = [
            (place, inputs.label(place), source)
            for place, source in enumerate(task.sources)
            if isinstance(source, TensorInfo)
        ]
        self._updates: dict[int, Tensor] = {}
        for place, source in enumerate(task.sources):
            if isinstance(source, AdapterDelta):
                update = inputs.low_rank(inputs.label(place), source).dense(self._dtype).reshape(-1)
                self._updates[place] = update * task.weights[place] if task.weighs_first else update
            else:  # what is formed from the whole tensor has another route
                assert source is None or isinstance(source, TensorInfo)
        read = [("base", task.base), *((label, info) for _, label, info in self._dense)]
        self._step = max(1, chunk_of(task) // self._piece) * self._piece
        self._ahead = ReadAhead(inputs, reader, read, self._step, is_read_once(task) * task.base.elements)
        self._computed_as_one = {info.code for _, info in read if compute_dtype(info.code) is self._dtype}
        size = min(self._piece, task.base.elements)
        self._base = torch.empty(size, dtype=self._dtype)
        self._deltas = [
            None if place in self._updates else torch.zeros(size, dtype=self._dtype)
            for place in range(len(task.sources))
        ]
        self._stored: list[Tensor] = []
        self._passed = False
        self.tested = True
        """Whether each entry is tested for NaN and infinity as it comes, in the first pass."""

    @property
    def all_dense(self) -> bool:
        """Whether every task vector is the difference of a model's tensor from the base's."""
        return len(self._dense) == len(self._deltas) > 0

    @property
    def untested(self) -> bool:
        """Whether nobody has tested the entries of the last piece yet, in this pass or in one before."""
        return not (self.tested or self._passed)

    def test(self) -> None:
        """Test every entry of the last piece.

        Raises:
            NumericalError: an entry is NaN or infinite.
        """
        sources = [("base", self.task.base), *((label, info) for _, label, info in self._dense)]
        for (label, info), stored in zip(sources, self._stored, strict=True):
            self.inputs.checked(label, info, stored.to(compute_dtype(info.code)))

    def begin(self) -> None:
        """Read the first entries, or all that stay in memory, before they are asked for.

        Raises:
            SourceError: an input changed or ends early.
        """
        self._ahead.begin()

    def sample(self) -> list[Float[Tensor, "blocks length"]] | None:
        """Some entries of every task vector; None of a small tensor, and where reading them takes forming more.

        Raises:
            SourceError: an input changed or ends early.
        """
        base, elements = self.task.base, self.task.base.elements
        infos = [base, *(info for _, _, info in self._dense)]
        if elements < SAMPLED_ELEMENTS:
            return None
        if self._ahead.reads_once:
            self.begin()
            taken = partial(spread_sample, width=base.shape[-1])
            stored = [taken(entries) for entries in self._ahead.whole]
        elif any(isinstance(info, FormedTensor) for info in infos):
            return None
        else:
            starts, length = sampled_blocks(elements)
            taken = partial(blocks_of, starts=starts, length=length)
            stored = [self._blocks(info, starts, length) for info in infos]
        under, *dense = (sample.to(self._dtype) for sample in stored)
        found = {place: own.sub_(under) for (place, _, _), own in zip(self._dense, dense, strict=True)}
        for place, own in found.items():
            if self.task.weighs_first:
                own.mul_(self.task.weights[place])
        found |= {place: taken(update) for place, update in self._updates.items()}
        return [found.get(place, torch.zeros_like(under)) for place in range(len(self._deltas))]

    def _blocks(self, info: TensorInfo, starts: Sequence[int], length: int) -> Shaped[Tensor, "blocks length"]:
        stored = torch.empty(len(starts), length, dtype=info.dtype)
        for row, start in zip(stored, starts, strict=True):
            self._reader.read_into(info, start, start + length, row)
        return stored

    def __iter__(self) -> Iterator[tuple[int, Float[Tensor, " count"], list[Float[Tensor, " count"]]]]:
        """Each piece: where it begins, the base's weights, the task vectors.

        Raises:
            SourceError: an input changed or ends early.
            NumericalError: an entry is NaN or infinite, where each is tested as it comes.
        """
        for chunk, stored in self._ahead:
            count = stored[0].numel()
            for start in range(0, max(1, count), self._piece):
                yield chunk + start, *self._of(chunk, slice(start, min(start + self._piece, count)), stored)
        self._passed = True

    def room_for_sum(self) -> Float[Tensor, " elements"] | None:
        """Memory for the sum of the whole task vectors; None where that takes too much."""
        whole = self.task.base.elements * self._dtype.itemsize
        return torch.empty(self.task.base.elements, dtype=self._dtype) if whole <= HELD_BYTES else None

    def of_base(self) -> Iterator[tuple[int, Float[Tensor, " count"]]]:
        """The same pieces of the base alone, once every entry is tested.

        Raises:
            SourceError: an input changed or ends early.
        """
        alone = ReadAhead(self.inputs, self._reader, [("base", self.task.base)], self._step)
        for chunk, (stored, *_) in self._ahead if self._ahead.reads_once else alone:
            for start in range(0, max(1, len(stored)), self._piece):
                part = stored[start : start + self._piece]
                yield chunk + start, self._numbers("base", self.task.base, part, self._base[: len(part)])

    def _of(self, chunk: int, part: slice, stored: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        size = part.stop - part.start
        self._stored = [row[part] for row in stored]
        base = self._numbers("base", self.task.base, self._stored[0], self._base[:size])
        deltas = [
            self._updates[place][chunk + part.start : chunk + part.stop] if held is None else held[:size]
            for place, held in enumerate(self._deltas)
        ]
        for (place, label, info), weights in zip(self._dense, self._stored[1:], strict=True):
            delta = self._apart(label, info, weights, base, deltas[place])
            if self.task.weighs_first:
                delta.mul_(self.task.weights[place])
        return base, deltas

    def _apart(self, label: str, info: TensorInfo, stored: Tensor, base: Tensor, delta: Tensor) -> Tensor:
        """Subtract the base's weights from what was read."""
        if info.dtype is not self._dtype:
            return self._numbers(label, info, stored, delta).sub_(base)
        torch.sub(stored, base, out=delta)
        if self.tested and not self._passed and not surely_finite(delta):  # which is in the cache now
            self.inputs.checked(label, info, stored)
        return delta

    def _numbers(self, label: str, info: TensorInfo, stored: Tensor, numbers: Tensor) -> Tensor:
        """What was read, in the dtype that arithmetic runs in, for which there is memory; tested in the first pass."""
        test = self.tested and not self._passed
        if info.dtype is self._dtype:
            return self.inputs.checked(label, info, stored) if test else stored
        if info.code in self._computed_as_one:
            numbers.copy_(stored)
            # By their sum: they are in the cache now, where the bits that were read are not yet.
            return self.inputs.checked(label, info, numbers) if test else numbers
        values = stored.to(compute_dtype(info.code))
        return numbers.copy_(self.inputs.checked(label, info, values) if test else values)
