"""Ready-made Fisher information: which tensor of its files belongs to which tensor of the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mergeometry.conventions.renames import Renames
from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.matching import match_names
from mergeometry.recipe.data import FISHER
from mergeometry.sources import Adapter, open_model

if TYPE_CHECKING:
    from mergeometry.plan.plan import Plan
    from mergeometry.plan.tasks import TensorTask
    from mergeometry.sources import Checkpoint, TensorInfo

_WHOLE = "give Fisher information of whole matrices, under the base's names"


def merged_by_fisher(tasks: Sequence[TensorTask]) -> list[TensorTask]:
    """The tensors whose method merges by Fisher information."""
    return [task for task in tasks if task.method is not None and task.method.merges_by == FISHER]


def ready_made(plan: Plan) -> tuple[dict[str, dict[str, TensorInfo]], list[str]]:
    """By model and by the base's name, where its Fisher information lies; and every reason why it does not fit.

    A tensor that is a copy of another has that one's information.

    Raises:
        SourceError: a file cannot be read; the error names the model.
    """
    recipe, base = plan.recipe, plan.base
    places = {} if recipe.data is None else recipe.data.ready_made
    merged = list(dict.fromkeys(plan.tied.get(task.name, task.name) for task in merged_by_fisher(plan.tasks)))
    found: dict[str, dict[str, TensorInfo]] = {}
    problems: list[str] = []
    for label, place in places.items():
        opened = open_model(place, label)
        if isinstance(opened, Adapter):
            problems.append(f"{label}: {place} is an adapter; {_WHOLE}")
            continue
        heads = recipe.heads if isinstance(recipe.heads, tuple) else ()
        match = match_names(base.tensors, opened.tensors, heads, Renames(base.config).newest)
        own = {name: opened.tensors[match.pairs[name]] for name in merged if name in match.pairs}
        problems += _problems(label, base, merged, own, match.extra)
        found[label] = own
    return found, problems


def _problems(
    label: str, base: Checkpoint, merged: Sequence[str], own: Mapping[str, TensorInfo], extra: Sequence[str]
) -> Iterator[str]:
    for name in merged:
        info = own.get(name)
        if info is None:
            yield f"{label}: there is no Fisher information of {name!r}"
        elif info.shape != base.tensors[name].shape:
            shape = list(base.tensors[name].shape)
            yield f"{label}: the Fisher information of {name!r} is {list(info.shape)}, and the tensor {shape}"
        elif info.code not in MERGEABLE:
            yield f"{label}: the Fisher information of {name!r} is stored as {info.code}, which holds no fractions"
    for name in extra:
        yield f"{label}: there is Fisher information of {name!r}, which the base lacks"
