"""What `method: auto` takes for such models, in words, and what it kept on the project's boards."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.inspection.prediction import kept_by, kept_by_auto
from mergeometry.inspection.result import Inspection, Sentence
from mergeometry.inspection.totals import matrices_of, totals_of
from mergeometry.plan.choice_of_method import GROUPS, Facts, Group, Merge, choose_method


def advice_in_words(inspection: Inspection) -> Iterator[Sentence]:
    """The method that `method: auto` takes and why, what it kept on boards, and what the recipe's own method kept."""
    kinds = [model.kind if inspection.folded is None else "adapter" for model in inspection.models]
    if inspection.output is not None or len(kinds) < 2:
        return
    facts = facts_of(inspection)
    choice = choose_method(facts)
    text = f"`method: auto` takes {_way(choice.merge)} for these models: {choice.why}."
    # Boards are of one kind of models, and tell nothing of a choice that other rules made.
    told = choice.group if len(set(kinds)) == 1 else None
    experience = [] if told is None else list(_experience(inspection, told, kinds[0], choice.merge))
    if experience:
        text = " ".join([text, *experience, "These are other models: it is experience, not an estimate for yours."])
    yield Sentence("note", text)


def facts_of(inspection: Inspection) -> Facts:
    """What `method: auto` looks at, from the figures of an inspection: of matrices alone, as it does."""
    matrices = totals_of(matrices_of(inspection.tensors), inspection.labels)
    return Facts(
        models=len(inspection.models),
        adapters=sum(model.kind == "adapter" for model in inspection.models),
        kind=inspection.model_kind,
        likeness=min((pair.cosine for pair in matrices.pairs), default=None),
        folded=inspection.folded,
        inputs=bool(inspection.recipe.get("data")),
        learns=bool(inspection.recipe.get("adapt")),
    )


def _experience(inspection: Inspection, group: Group, kind: str, chosen: Merge) -> Iterator[str]:
    kept = kept_by_auto(group)
    if kept is not None:
        tasks = f"{kept.fewest_tasks} to {kept.most_tasks} tasks each"
        yield (
            f"On {kept.boards} boards of {GROUPS[group]} ({tasks}) that kept {_percent((kept.low, kept.high))} of the "
            "experts' scores."
        )
    name = _method(inspection)
    plain = not chosen.refine and name == chosen.method["name"]
    own = kept_by(kind, name, validated=False) if name and not plain else None
    if own is not None:
        yield f"`{name}` at scale 1 kept {_percent(own)}."


def _way(merge: Merge) -> str:
    options = ", ".join(f"{key}: {value}" for key, value in merge.method.items() if key != "name")
    method = f"`{merge.method['name']}`" + (f" ({options})" if options else "")
    refined = f" with `refine: [{', '.join(merge.refine)}]`" if merge.refine else ""
    other = f" with `other: {merge.other}`" if merge.other else ""
    scale = f" at `scale: {merge.scale:g}`" if isinstance(merge.scale, float) else f" with `scale: {merge.scale}`"
    return f"{method}{refined}{other}{scale}"


def _percent(shares: tuple[float, float]) -> str:
    low, high = (round(100 * share) for share in shares)
    return f"{low} %" if low == high else f"{low} to {high} %"


def _method(inspection: Inspection) -> str | None:
    method = inspection.recipe.get("method")
    return method.get("name") if isinstance(method, dict) else None
