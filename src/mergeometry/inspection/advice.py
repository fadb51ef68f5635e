"""What to take for such models, in words: experience with the project's boards, and said to be no more than that."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.inspection.prediction import Advice, advice_on, kept_by
from mergeometry.inspection.result import Inspection, Sentence

_KINDS = {"checkpoint": "full fine-tunes", "adapter": "adapters"}


def advice_in_words(inspection: Inspection) -> Iterator[Sentence]:
    """What kept most on the boards of such models, and what the recipe's own method kept there."""
    kinds = [model.kind for model in inspection.models]
    advice = advice_on(kinds)
    if inspection.output is not None or len(kinds) < 2 or advice is None:
        return
    text = (
        f"On {advice.boards} boards of {_KINDS[kinds[0]]} ({advice.fewest_tasks} to {advice.most_tasks} tasks each), "
        f"{_way(advice)} kept most: {_percent((advice.low, advice.high))} of the experts' scores."
    )
    name = _method(inspection)
    own = kept_by(kinds[0], name, validated=False) if name and name != advice.method else None
    if own is not None:
        text += f" `{name}` at scale 1 kept {_percent(own)}."
    yield Sentence("note", f"{text} These are other models: it is experience, not an estimate for yours.")


def _way(advice: Advice) -> str:
    other = f" with `other: {advice.other}`" if advice.other else ""
    if not advice.validated:
        return f"`method: {advice.method}`{other} at scale 1"
    least, largest = f"{advice.least_scale:g}", f"{advice.largest_scale:g}"
    scale = least if least == largest else f"{least} to {largest}"
    return f"`method: {advice.method}`{other} at the scale that labelled inputs chose, {scale},"


def _percent(shares: tuple[float, float]) -> str:
    low, high = (round(100 * share) for share in shares)
    return f"{low} %" if low == high else f"{low} to {high} %"


def _method(inspection: Inspection) -> str | None:
    method = inspection.recipe.get("method")
    return method.get("name") if isinstance(method, dict) else None
