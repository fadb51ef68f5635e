"""Whether full models are folded adapters, as `method: auto` sees it: the same blocks of the same matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergeometry.execution.task_reader import Reads
from mergeometry.plan.low_rank import Ballot, Verdict, judge
from mergeometry.plan.plan import Plan
from mergeometry.plan.sample import block_of, fits, sampled
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import Checkpoint, TensorInfo


def sampled_names(plan: Plan) -> tuple[str, ...]:
    """The matrices that tell, in the order in which they are asked."""
    return tuple(name for name, _ in sampled(plan.base, plan.models))


def verdicts_of(task: TensorTask, reader: Reads) -> tuple[Verdict | None, ...]:
    """What a matrix says of each model.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    base = block_of(reader, task.base)
    return tuple(
        judge(base, block_of(reader, source)) if isinstance(source, TensorInfo) and fits(source, task.base) else None
        for source in task.sources
    )


def rank_of_folds(plan: Plan, names: Sequence[str], verdicts: Mapping[str, Sequence[Verdict | None]]) -> int | None:
    """The highest rank of full models that are all folded adapters, by the verdicts of what was measured; else None."""
    ballot = Ballot(place for place, model in enumerate(plan.models) if isinstance(model, Checkpoint))
    for name in names:
        for place, model in enumerate(plan.models):
            if isinstance(model, Checkpoint) and name in verdicts and ballot.asks(place):
                ballot.cast(place, verdicts[name][place])
    return ballot.rank
