"""The task vectors of one tensor, read when they are asked for, and their merge."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.dtypes import compute_dtype
from mergeometry.execution.directions_plan import note_directions
from mergeometry.execution.on_demand import OnDemand
from mergeometry.execution.refining import calibrated, refined
from mergeometry.execution.task_reader import TaskReader
from mergeometry.linalg.recall import NOTHING, Recall
from mergeometry.methods.families.accumulator import Accumulator, LeadingDirections, Weighing, accumulate
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import AdapterDelta, DenseUpdate, TensorInfo
from mergeometry.values import Delta, LowRank


class TaskVectors(OnDemand):
    """A task's task vectors, each read whenever it is asked for and never kept.

    Matrices are (outputs, inputs) whatever the file's layout. The base is read once, when it is asked for or when a
    model holds the tensor itself.
    """

    def __init__(self, task: TensorTask, inputs: TaskReader) -> None:
        self._task, self._inputs = task, inputs
        self._base: Tensor | None = None

    @property
    def stored_base(self) -> Float[Tensor, "*shape"]:
        """The base's weights as they are stored in the file."""
        if self._base is None:
            self._base = self._inputs.numbers("base", self._task.base)
        return self._base

    @property
    def recall(self) -> Recall:
        """What their merge asks for decompositions."""
        return self._inputs.recall

    @property
    def base(self) -> Float[Tensor, "*shape"]:
        """The base's weights, oriented as the task vectors are."""
        return self.stored_base.mT if self._task.transposed else self.stored_base

    def __len__(self) -> int:
        return len(self._task.sources)

    def at(self, index: int) -> Delta:
        """Read one model's update of the tensor."""
        task, source, label = self._task, self._task.sources[index], self._inputs.label(index)
        if isinstance(source, TensorInfo):
            base = self.stored_base
            weights = self._inputs.numbers(label, source).to(base.dtype)
            if (index + 1) < len(self) and isinstance(following := task.sources[index + 1], TensorInfo):
                self._inputs.expect(self._inputs.label(index + 1), following)
            # In place: nothing else refers to what was just read, and a third copy would set the peak of memory.
            delta = weights.sub_(base)
            return delta.mT if task.transposed else delta
        if isinstance(source, AdapterDelta):
            low_rank = self._inputs.low_rank(label, source)
            return low_rank.transposed() if task.transposed else low_rank
        if isinstance(source, DenseUpdate):
            update = self._inputs.dense(label, source, self.stored_base)
            return update.mT if task.transposed else update
        if len(task.base.shape) != 2:
            return torch.zeros(task.base.shape, dtype=compute_dtype(task.base.code), device=self._inputs.device)
        m, n = task.shape
        return LowRank.zero(m, n, self._inputs.device)


def begin(task: TensorTask, vectors: TaskVectors) -> Accumulator[Delta]:
    """Start the merge of a task by its method, of task vectors that its refinements may change before."""
    return calibrated(task, begin_piece(task, _base_for(task, vectors), vectors.recall), vectors)


def begin_piece(task: TensorTask, base: Tensor | None, recall: Recall = NOTHING) -> Accumulator[Delta]:
    """Start the merge of a piece of a task; ``base`` is the base's weights there, for a method that needs them."""
    assert task.method is not None
    begun = task.method.begin([1.0] * len(task.weights) if task.weighs_first else task.weights, base)
    if isinstance(begun, LeadingDirections):
        begun.recall = recall
    return Weighing(begun, task.weights) if task.weighs_first else begun


def begin_parts(task: TensorTask, vectors: TaskVectors) -> Accumulator[list[Delta]]:
    """Start the same for what each model adds."""
    assert task.method is not None
    base = _base_for(task, vectors)
    if not task.weighs_first:
        return task.method.begin_parts(task.weights, base)
    return Weighing(task.method.begin_parts([1.0] * len(task.weights), base), task.weights)


def _base_for(task: TensorTask, vectors: TaskVectors) -> Tensor | None:
    """The base's weights, where the method needs them or can use them."""
    method = task.method
    assert method is not None
    # Where all are adapters' updates, the base's tensor may not be read at all.
    asks = method.uses_base and any(isinstance(source, TensorInfo) for source in task.sources)
    return vectors.base if method.needs_base or asks else None


def merged_delta(task: TensorTask, vectors: TaskVectors) -> tuple[Delta, Sequence[Delta]]:
    """The merged task vector of a task, refined, and the task vectors: read again where the merge released them."""
    accumulator = begin(task, vectors)
    merged = accumulate(accumulator, len(vectors), vectors.__getitem__)
    note_directions(vectors.recall, task)
    deltas = accumulator.held or vectors
    return refined(task, merged, deltas), deltas
