"""Estimates what a tensor task costs: bytes, floating-point operations, memory and seconds.

A method's family estimates its merge; this module adds the cost of the route and of the steps after the merge. Seconds
are rough, from the rates of one core of a common server; memory is an upper bound that tests check the engine against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergeometry.linalg.sampling import SAMPLED_ELEMENTS
from mergeometry.methods.families.cost import (
    ALGEBRA_BYTES,
    ALLOCATOR,
    CHUNK_ELEMENTS,
    PIECE_ELEMENTS,
    Sizes,
    whole_spectrum,
)
from mergeometry.plan.machine import (
    BYTES_PER_SECOND,
    ELEMENTS_PER_SECOND,
    FLOAT64_FLOPS_PER_SECOND,
    FORMED_PER_SECOND,
)
from mergeometry.plan.reading import chunk_of, read_at_once, read_bytes
from mergeometry.plan.route import step_of
from mergeometry.scaling import needed_by
from mergeometry.sources import AdapterDelta
from mergeometry.sources.formed import FormedTensor

if TYPE_CHECKING:
    from mergeometry.plan.tasks import Source, TensorTask
    from mergeometry.recipe.scale import ScaleRule


_PIECES = 6
"""Pieces of a copied tensor in memory: as stored, as checked, as written, and those of models that must equal it."""


_FORMING = 3
"""Whole tensors that forming one adapter's dense update holds at a time: the factors' product, the changed weight, and
their difference."""


_MEASURED = 1 << 20
"""Entries that a scale rule has in float64 at a time."""


_MEASURING = 2 << 20
"""Bytes for each model that a pass before the merge takes: some entries in float64, and counts of magnitudes."""


_SAMPLING = 8 << 20
"""Bytes for each model of a large tensor that its sample takes, and the magnitudes between the sample's bounds."""


_WIDEST = 8
"""Bytes of the widest number."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes read and written, floating-point operations, working memory in bytes, seconds on one core."""

    read: int
    written: int
    flops: float
    memory: int
    seconds: float


def cost_of(task: TensorTask) -> Cost:
    """Cost of one task by its route."""
    if task.route == "slices":
        return _cost_of_slices(task)
    return _copy_cost(task) if task.route == "copy" else _merge_cost(task)


def sizes_of(task: TensorTask) -> Sizes:
    """Sizes of a task's task vectors, from headers; an adapter that does not change the tensor has one of rank 0."""
    widest = max(task.base.nbytes, *(read_bytes(source) for source in task.sources))
    return Sizes(
        task.shape,
        tuple(_low_rank(source) for source in task.sources),
        number=8 if widest > 4 * task.base.elements else 4,
        step=step_of(task.route, task.base.shape, PIECE_ELEMENTS),
        stays_thin=_stays_thin(task),
    )


def _stays_thin(task: TensorTask) -> bool:
    """Whether adapters' factors are merged to factors that are written as they are."""
    method = task.method if task.route == "factors" and task.adapters_only else None
    return method is not None and method.stays_low_rank and not method.needs_base


def _copy_cost(task: TensorTask) -> Cost:
    nbytes, compared, written = task.base.nbytes, len(task.equal), bool(task.outputs)
    if not (compared or written):
        return Cost(0, 0, 0.0, 0, 0.0)
    read, out = nbytes * (1 + compared), nbytes * written
    # A rotation needs the whole matrix; anything else is copied piece by piece.
    held = 6 * nbytes if task.turned is not None else _PIECES * _WIDEST * min(task.base.elements, CHUNK_ELEMENTS)
    held += _forming(task.base, *(info for _, info in task.equal))
    return Cost(read, out, 0.0, held, (read + out) / BYTES_PER_SECOND)


def _cost_of_slices(task: TensorTask) -> Cost:
    """One slice is in memory at a time; copies that must equal the base's are compared whole."""
    costs = [piece.cost for piece in task.slices]
    compared = task.base.nbytes * (1 + len(task.equal)) if task.equal else 0
    return Cost(
        compared + sum(cost.read for cost in costs),
        sum(cost.written for cost in costs),
        sum(cost.flops for cost in costs),
        max(3 * task.base.nbytes if task.equal else 0, *(cost.memory for cost in costs)),
        compared / BYTES_PER_SECOND + sum(cost.seconds for cost in costs),
    )


def _merge_cost(task: TensorTask) -> Cost:
    assert task.method is not None
    sizes, scaling = sizes_of(task), task.scaling
    stored = read = task.base.nbytes + sum(read_bytes(source) for source in task.sources)
    written = sum(output.nbytes for output in task.outputs)
    widest = max(task.base.nbytes, *(read_bytes(source) for source in task.sources))
    whole = sizes.number * sizes.elements
    work = task.method.cost(sizes)
    flops, memory = work.flops, work.memory + (0 if sizes.step else written)
    if sizes.step:
        # Every file's entries twice, since the next are read ahead, and so the output's; each model's as computed with.
        memory += read_at_once(task) + 2 * chunk_of(task) * _WIDEST + sizes.piece * (sizes.tasks + 2)
        memory += 4 * sizes.elements * (sizes.tasks - sizes.dense)
        if task.route == "passes":
            memory += (_MEASURING + _SAMPLING * (sizes.elements >= SAMPLED_ELEMENTS)) * (sizes.tasks + 2)
    elif sizes.stays_thin:
        memory += max(read_bytes(source) for source in task.sources)
    else:
        memory += whole + widest
    memory += _FORMING * whole * task.forms_updates
    memory += _forming(task.base, *task.sources)
    if task.weighs_first:
        memory += sizes.piece if sizes.step else whole
    if task.route == "factors" and (sizes.dense or not task.method.stays_low_rank):
        matrix = (sizes.shape[0], math.prod(sizes.shape[1:]))  # a convolution is split as one
        split = whole_spectrum(Sizes(matrix, (None,), sizes.number))
        flops, memory = flops + split.flops, max(memory, split.memory + 2 * whole + written)
    # A method that takes its task vectors one at a time reads them again for each step after the merge.
    streams = task.method.streams
    if task.refinements:
        held = whole * (1 if streams else sizes.dense) if sizes.dense else 0
        more = [
            refinement.cost(sizes.shape, sizes.tasks, _merged_rank(task, sizes)) for _, refinement in task.refinements
        ]
        flops += sum(operations for operations, _ in more)
        refining = 2 * whole + held + ALLOCATOR * max(working for _, working in more)
        memory = max(memory, int(ALGEBRA_BYTES + refining) + widest + written)
        calibrating = any(refinement.calibrates for _, refinement in task.refinements)
        if calibrating and sizes.dense:
            # What changes a task vector stays until the last is merged, and the vector itself beside what became of it.
            memory += int(ALLOCATOR * (whole + _WIDEST * sizes.shape[0] ** 2))
        # What calibrates reads all task vectors once before the merge, and what was changed is not kept for later.
        read += stored * (len(task.refinements) * (streams or calibrating) + calibrating)
    if scaling is not None:
        more_flops, more_memory, passes = _measuring(scaling, sizes, streams=streams)
        flops, read = flops + more_flops, read + stored * passes
        memory = max(memory, more_memory + widest + written)
        if scaling.per != "tensor":
            # Every tensor is merged once to be measured, and once to be written.
            read, flops = 2 * read, 2 * flops
    seconds = (read + written) / BYTES_PER_SECOND + sizes.elements * sizes.dense / ELEMENTS_PER_SECOND
    seconds += sizes.elements * _formed(task, sizes) / FORMED_PER_SECOND
    return Cost(read, written, flops, memory, seconds + flops / FLOAT64_FLOPS_PER_SECOND)


def _formed(task: TensorTask, sizes: Sizes) -> int:
    """How many matrices are multiplied out from thin factors: the merge of thin ones alone, or each by itself."""
    if sizes.stays_thin:
        return 0
    return 1 if _merged_rank(task, sizes) is not None else sizes.tasks - sizes.dense


def _merged_rank(task: TensorTask, sizes: Sizes) -> int | None:
    """Bound of the rank of a merge that is held as thin factors; None where it is dense."""
    assert task.method is not None
    thin = not sizes.dense and task.method.stays_low_rank and not task.method.needs_base
    return sum(rank for rank in sizes.ranks if rank is not None) if thin else None


def _measuring(scaling: ScaleRule, sizes: Sizes, *, streams: bool) -> tuple[float, int, int]:
    """Operations and bytes of a scale rule, and how many more times it reads the task vectors."""
    from mergeometry.refinements import registry as refinement_registry  # noqa: PLC0415  (needs torch)

    needs, whole = needed_by(scaling.rule), sizes.number * sizes.elements
    pairs = sizes.tasks * (sizes.tasks + 1) / 2 if "gram" in needs else 0
    flops, working = 2.0 * sizes.elements * (2 * sizes.tasks + 1 + pairs), 16 * _MEASURED
    if "svc" in needs and len(sizes.shape) == 2:
        calibrating, extra = refinement_registry.build("svc", {}).cost(sizes.shape, sizes.tasks)
        flops, working = flops + calibrating, working + extra
    if "layers" in needs and len(sizes.shape) == 2:
        long, short = max(sizes.shape), min(sizes.shape)
        # The spectrum of the base's weights, and that and four products of each dense task vector.
        flops += (1 + sizes.dense) * (long * short**2 + 8.0 * short**3) + 8.0 * sizes.dense * long * short**2
        working += 32 * long * short + 56 * short**2
    held = whole * (min(sizes.dense, 1) if streams and "gram" not in needs else sizes.dense)
    memory = int(ALGEBRA_BYTES + 2 * whole + held + ALLOCATOR * working)
    return flops, memory, streams * (1 + ("svc" in needs) + ("layers" in needs))


def _forming(*sources: Source) -> int:
    """Bytes that are held while a tensor is formed that no file holds as it is; they are formed one at a time."""
    return max((source.working for source in sources if isinstance(source, FormedTensor)), default=0)


def _low_rank(source: Source) -> int | None:
    if source is None:
        return 0
    return source.rank if isinstance(source, AdapterDelta) else None
