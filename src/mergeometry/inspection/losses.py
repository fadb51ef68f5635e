"""What each task is estimated to have lost in a merge, where the estimate held on models that it never saw."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mergeometry.inspection.prediction import Loss, loss_of
from mergeometry.inspection.result import Inspection, Sentence, TensorFigures
from mergeometry.inspection.totals import over_accumulation


def losses_in_words(inspection: Inspection) -> Iterator[Sentence]:
    """The tasks in the order of their estimated losses; nothing where no estimate is known."""
    known = [(loss, label) for label, loss in losses_of(inspection).items() if loss is not None]
    if not known:
        return
    known.sort(key=lambda one: -one[0].middle)
    listed = ", ".join(f"{label} {_percent(loss)}" for loss, label in known)
    yield Sentence(
        "note",
        "Estimated from the weights, with 90 % intervals, the merge lost this share of each expert's score: "
        f"{listed}. Only scores on data tell what it is.",
    )


def losses_of(inspection: Inspection) -> dict[str, Loss | None]:
    """The estimate of every model of a merge."""
    if inspection.output is None:
        return {}
    return {label: loss_of(figures_of_model(inspection, index)) for index, label in enumerate(inspection.labels)}


def figures_of_model(inspection: Inspection, index: int) -> dict[str, float]:
    """The figures of one model in the merge that estimates are made of, as the study computes them."""
    own, totals = [one for one in inspection.tensors if one.merged is not None], inspection.totals.models[index]
    norm = math.fsum(one.norm[index] ** 2 for one in own)
    merged = math.fsum(_merged(one) ** 2 for one in own)
    along = math.fsum(_held(one, index) * one.norm[index] ** 2 for one in own)
    base = math.fsum(one.base_norm**2 for one in own)
    if not norm > 0 or not base > 0:
        return {}
    distance = max(0.0, merged - 2 * along + norm)
    figures = {
        "share_held": along / norm,
        "distance": math.sqrt(distance / norm),
        "distance_of_base": math.sqrt(distance / base),
        "foreign": math.sqrt(max(0.0, merged - along**2 / norm) / norm),
        "relative_norm": math.sqrt(norm / base),
    }
    known = {"alignment": totals.alignment, "consistency": totals.consistency, "accumulated": over_accumulation(own)}
    return {**figures, **{name: value for name, value in known.items() if value is not None}}


def _merged(one: TensorFigures) -> float:
    assert one.merged is not None
    return one.merged.norm


def _held(one: TensorFigures, index: int) -> float:
    assert one.merged is not None
    return one.merged.share_held[index]


def _percent(loss: Loss) -> str:
    return f"{100 * loss.middle:.0f} % ({100 * loss.low:.0f} to {100 * loss.high:.0f})"
