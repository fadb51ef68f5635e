"""What the figures on inputs say, in a sentence or two at the head of an inspection's verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mergeometry.inspection.on_inputs import OnInputs, Share, TaskOnInputs
from mergeometry.inspection.result import Inspection, Sentence


def with_figures(inspection: Inspection, figures: OnInputs) -> Inspection:
    """The inspection with ``figures``; what calls for a look comes before what only informs."""
    verdict = sorted((*sentences_on(figures), *inspection.verdict), key=lambda sentence: sentence.level == "note")
    return replace(inspection, on_inputs=figures, verdict=tuple(verdict))


def sentences_on(figures: OnInputs) -> Iterator[Sentence]:
    """Which task's expert the merged model agrees with least and most, and where the base agrees with it more."""
    known = [(task, task.merged.agreement) for task in figures.tasks if task.merged and task.merged.agreement]
    if not known:
        return
    low, high = min(known, key=lambda one: one[1].value), max(known, key=lambda one: one[1].value)
    text = f"On your inputs the merged model predicts as the expert does on {_percent(low)}"
    yield Sentence("note", f"{text} to {_percent(high)}." if len(known) > 1 else f"{text}.")
    behind = [task.name for task, share in known if _behind(task, share)]
    if behind:
        yield Sentence(
            "attention",
            f"The base predicts as the expert does more often than the merged model on {', '.join(behind)}: there the "
            "merge undoes more than it brings.",
        )


def _behind(task: TaskOnInputs, share: Share) -> bool:
    base = task.base.agreement
    return base is not None and share.high < base.low


def _percent(one: tuple[TaskOnInputs, Share]) -> str:
    task, share = one
    return f"{100 * share.value:.0f} % ({task.name}, {100 * share.low:.0f} to {100 * share.high:.0f})"
