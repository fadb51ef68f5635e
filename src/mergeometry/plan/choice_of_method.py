"""``method: auto``: the method, its options and the scale, chosen by what the models are.

The rules were fitted on the validation figures of leaderboards and tested on boards that were left out
(`python -m benchmarks.studies.method_choice`, docs/which-method.md). A test holds them and the boards together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mergeometry.words import counted

ALIKE = 0.5
"""Task vectors whose least cosine is above this count as those of one task; of different tasks it is far below."""

Form = Literal["adapters", "full"]
Group = Literal["full", "text adapters", "image adapters", "other adapters"]
"""Models that share a rule."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice depends on: from headers and configurations, and from a small sample of the weights."""

    models: int
    adapters: int
    """How many of the models are adapters."""
    kind: str | None = None
    """text, image, causal or seq2seq, where the base's configuration says so."""
    likeness: float | None = None
    """The least cosine between two task vectors, over a sample of their entries; None where no weight was read."""
    folded: int | None = None
    """The highest rank of the full models' updates, where all are of low rank, as of adapters folded into the weights.

    None where one is not, where there is no full model, and where no weight was read.
    """
    inputs: bool = False
    """Whether the recipe has unlabelled inputs of each task (`data:`)."""
    learns: bool = False
    """Whether the recipe learns (`adapt:`), from a merge with a part for each task."""
    matrices: bool = True
    """Whether a model moves a matrix, so that there is something to refine."""

    @property
    def group(self) -> Group:
        """The models that share a rule with these."""
        if 2 * self.adapters <= self.models and self.folded is None:
            return "full"
        if self.kind == "text":
            return "text adapters"
        return "image adapters" if self.kind == "image" else "other adapters"


@dataclass(frozen=True, slots=True)
class Merge:
    """A method with its options, how tensors that are not matrices merge, the scale, and what refines the merge."""

    method: Mapping[str, Any]
    other: str | None = None
    scale: float | str = 1.0
    refine: tuple[str, ...] = ()

    def __str__(self) -> str:
        options = ", ".join(f"{key}: {value}" for key, value in self.method.items() if key != "name")
        refined = f", refine: [{', '.join(self.refine)}]" if self.refine else ""
        other = f", other: {self.other}" if self.other else ""
        return f"{self.method['name']}{f' ({options})' if options else ''}{refined}{other}, scale: {self.scale}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and why: in one clause, and in three lines for people."""

    merge: Merge
    why: str
    reasons: tuple[str, str, str]
    group: Group | None = None
    """The models whose fitted rule it is; None where another rule chose."""


FITTED: Mapping[Group, Merge] = {
    "full": Merge({"name": "own_blocks"}),
    "text adapters": Merge({"name": "tsv_m"}, refine=("norm",)),
    "image adapters": Merge({"name": "task_arithmetic"}, scale=0.5, refine=("pico",)),
}
"""For each group the merge that lost least on the boards' validation inputs, by the study."""

PLAIN = Merge({"name": "own_blocks"}, scale=0.5)
"""Of adapters that no board of accuracies has, and where a refinement is not possible."""

_MEAN = Merge({"name": "average"})
_BY_INPUTS = Merge({"name": "esm"})
_BY_DIRECTIONS = frozenset({"own_blocks", "tsv_m"})
"""Methods that are chosen and take a rank, which is by itself that of an adapter, but not that of a folded one."""


def choose_method(facts: Facts) -> Choice:
    """Choose a merge by the first rule that holds, and say why."""
    merge, why = _chosen(facts)
    group = facts.group if merge == FITTED.get(facts.group) else None
    if facts.folded is not None and merge not in (_BY_INPUTS, _MEAN):
        merge = _at_rank(merge, facts.folded)
        why = f"the models' updates are of low rank, as of adapters folded into the weights, and {why}"
    return Choice(
        merge,
        why,
        (
            f"auto: looked at {_seen(facts)}",
            f"auto: chose {merge}",
            f"auto: because {why}; any key that is given overrides its part",
        ),
        group,
    )


def _chosen(facts: Facts) -> tuple[Merge, str]:
    if facts.inputs:
        return _BY_INPUTS, "the recipe's `data:` gives inputs, and it keeps most of the methods that use them"
    if facts.models == 1:
        return _MEAN, "one model alone is added to its base as it is"
    if facts.likeness is not None and facts.likeness > ALIKE:
        return _MEAN, f"the models learned the same (cosines above {ALIKE:g}), which a sum would count several times"
    fitted = FITTED.get(facts.group)
    if fitted is None:
        return PLAIN, "no leaderboard of accuracies has adapters of such models (docs/which-method.md)"
    if fitted.refine and facts.learns:
        why = "learning needs a part for each task, which a refined merge has not"
        return PLAIN, f"{why} (without `adapt:` it is {fitted})"
    if fitted.refine and not facts.matrices:
        return PLAIN, "no model moves a matrix, so that there is nothing to refine"
    return fitted, f"it lost least on the leaderboards of {GROUPS[facts.group]} (docs/which-method.md)"


GROUPS: Mapping[Group, str] = {
    "full": "full fine-tunes",
    "text adapters": "adapters of text models",
    "image adapters": "adapters of image models",
}
"""The groups that have a fitted rule, in words."""

_KINDS = {
    "text": "a text model",
    "image": "an image model",
    "causal": "a language model",
    "seq2seq": "an encoder-decoder model",
}


def _at_rank(merge: Merge, rank: int) -> Merge:
    """The merge with the directions of adapters of a rank, and none of what rounding left beside them."""
    if merge.method["name"] not in _BY_DIRECTIONS:
        return merge
    return replace(merge, method={**merge.method, "rank": rank})


def _seen(facts: Facts) -> str:
    full = facts.models - facts.adapters
    parts = [counted(facts.adapters, "adapter")] if facts.adapters else []
    parts += [counted(full, "full fine-tune" if facts.folded is None else "folded adapter")] if full else []
    low = "" if facts.folded is None else f"; rank of their updates: {facts.folded} at most"
    alike = "" if facts.likeness is None else f"; least cosine of two updates: {facts.likeness:.2f}"
    return f"{' and '.join(parts)} of {_KINDS.get(facts.kind or '', 'a model of an unknown kind')}{low}{alike}"
