"""What a merge lost of one model's tensor, some entries at a time, from the staged output and the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.dtypes import item_size, torch_dtype
from mergeometry.execution.task_reader import ChunkedInput, TaskReader
from mergeometry.plan.residual_cost import PART_ELEMENTS
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot
from mergeometry.sink.failures import explained
from mergeometry.sink.files import read_range
from mergeometry.sources import AdapterDelta, DenseUpdate, TensorInfo, TensorReader
from mergeometry.values import LowRank


class Gaps:
    """What a merge lost of each model in one tensor; entries lie as the output's file has them, all in float64."""

    def __init__(self, task: TensorTask, merged: Slot, folder: Path, labels: tuple[str, ...], reader: TensorReader):
        self._task, self._merged, self._folder, self._reader = task, merged, folder, reader
        self._inputs = TaskReader(reader, labels)
        self._base = ChunkedInput(self._inputs, reader, "base", task.base)
        self.width = task.base.shape[1] if len(task.base.shape) == 2 else 1
        """Entries of a row: every part consists of whole rows."""

    def parts(self, index: int) -> Iterator[tuple[int, Float[Tensor, " count"], Float[Tensor, " count"]]]:
        """For one model, where each part begins, what it lacks there, and the model's own update there.

        Raises:
            SourceError: an input changed or ends early.
            NumericalError: an input is not finite.
            OutputError: the staged tensor cannot be read.
        """
        update, width = self._update(index), max(1, self.width)
        step = max(1, PART_ELEMENTS // width) * width
        for first in range(0, self._task.base.elements, step):
            last = min(first + step, self._task.base.elements)
            base = self._base.read(first, last).double()
            own = update(first, last, base)
            yield first, own + base.sub_(self.merged(first, last)), own

    def matrix(self, index: int) -> tuple[Float[Tensor, "m n"], float]:
        """All that is lost of one model's matrix, (outputs, inputs), and the squared norm of its update."""
        gap, norm = torch.empty(self._task.base.elements, dtype=torch.float64), 0.0
        for first, lost, own in self.parts(index):
            gap[first : first + len(lost)] = lost
            norm += float(own.square().sum())
        shaped = gap.view(tuple(self._task.base.shape))
        return shaped.mT if self._task.transposed else shaped, norm

    def merged(self, first: int, last: int) -> Float[Tensor, " count"]:
        """Entries of the merged tensor as they stand in the staged file."""
        slot, path = self._merged, self._folder / self._merged.file
        size = item_size(slot.code)
        with explained("a staged file cannot be read", path):
            data = bytearray().join(read_range(path, slot.start + first * size, (last - first) * size))
        return torch.frombuffer(data, dtype=torch_dtype(slot.code)).double()

    def _update(self, index: int) -> Callable[[int, int, Tensor], Tensor]:
        """Reads one model's update of some entries, of which it is given the base's."""
        task, source, label = self._task, self._task.sources[index], self._inputs.label(index)
        if isinstance(source, TensorInfo):
            weights = ChunkedInput(self._inputs, self._reader, label, source)
            return lambda first, last, base: weights.read(first, last).double() - base
        if isinstance(source, AdapterDelta):
            factors, width = self._inputs.low_rank(label, source), self.width

            def rows(first: int, last: int, base: Tensor) -> Tensor:
                part = LowRank(factors.left[first // width : last // width], factors.core, factors.right)
                return part.dense(torch.float64).view(base.shape)

            return rows
        if isinstance(source, DenseUpdate):  # formed from the whole tensor
            whole = self._inputs.dense(label, source, self._inputs.numbers("base", task.base)).reshape(-1)
            return lambda first, last, base: whole[first:last].double()
        return lambda first, last, base: torch.zeros_like(base)
