"""What the figures say, in words: what the weights show, and what such models kept on the project's boards.

The thresholds are where the figures of fine-tunes and of other models lie far apart (docs/reading-the-report.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from mergeometry.inspection.advice import advice_in_words
from mergeometry.inspection.losses import losses_in_words
from mergeometry.inspection.phrasing import first_of, with_brief_names
from mergeometry.inspection.result import Inspection, LayerTotals, Sentence, TensorFigures, Totals, pairs_of
from mergeometry.inspection.totals import base_alignment, matrices_of, over_accumulation
from mergeometry.words import brief

COPY_COSINE = 0.98
"""Task vectors of one task and two seeds have cosines well below this; those of copies are above it."""

UNRELATED_ALIGNMENT, DISTANT_ALIGNMENT = 0.3, 0.8
"""Below the first a model does not come from this base; fine-tunes have more than 0.9, also after long training."""

OPPOSED_COSINE = -0.2
FAR = 3.0
"""A model that moved so many times as far as the median model."""

_UNEVEN = 1.25
"""Interference of a layer over that of the median layer from which on it is named."""

_COUNTED = 1.2
"""Over-accumulation from which on it is named."""

_LAYERS, _MODULES = 3, 3
_LEAST_SHARE = 0.1


def verdict_on(inspection: Inspection) -> tuple[Sentence, ...]:
    """The sentences, the gravest first."""
    inspection = with_brief_names(inspection)
    totals = inspection.totals
    grave = [
        *_problems(inspection),
        *first_of(_lineage(inspection, totals), "models do not lie to the base as fine-tunes do"),
        *first_of(_unmoved(totals), "models equal the base"),
        *first_of(_copies(totals), "pairs are nearly copies"),
        *first_of(_opposed(totals), "pairs move against each other"),
        *first_of(_unequal(totals), "models moved much farther than the median model"),
    ]
    # Nothing is advised for models that do not belong together.
    advised = [] if any(one.level == "warning" for one in grave) else advice_in_words(inspection)
    told = [
        *advised,
        *_pulling_apart(inspection, totals),
        *_signs(inspection, totals),
        *_modules(totals),
        *first_of(_rows(inspection), "tables have rows that one model alone moved"),
    ]
    if not inspection.tensors:
        told = [Sentence("attention", "No tensor could be measured.")]
    elif not grave and inspection.output is None:
        told.insert(0, Sentence("note", _nothing_against(inspection)))
    return (*grave, *losses_in_words(inspection), *_after(inspection, totals), *told)


def _nothing_against(inspection: Inspection) -> str:
    count = len(inspection.models)
    subject = f"merging these {count} models" if count > 1 else "this model"
    return f"The weights show no warning sign against {subject}; only scores on data tell whether a merge is good."


def _problems(inspection: Inspection) -> Iterator[Sentence]:
    if inspection.problems:
        first = inspection.problems[0]
        more = f", and {len(inspection.problems) - 1} more" if len(inspection.problems) > 1 else ""
        yield Sentence("warning", f"{first.name!r} cannot be measured{more}: {first.reason}")


def _lineage(inspection: Inspection, totals: Totals) -> Iterator[Sentence]:
    matrices = matrices_of(inspection.tensors) or list(inspection.tensors)
    for index, (model, own) in enumerate(zip(inspection.models, totals.models, strict=True)):
        # An adapter is an update and holds no weights of its own, so that nothing in it tells its base.
        if model.kind == "adapter" or not own.norm > 0:
            continue
        apart = sum(base_alignment([one], index) < UNRELATED_ALIGNMENT for one in matrices)
        if own.base_alignment < UNRELATED_ALIGNMENT:
            yield Sentence(
                "warning",
                f"{model.label} is not a fine-tune of this base: its weights have a cosine of "
                f"{own.base_alignment:.2f} with the base's, and fine-tunes have more than 0.9. Check the base.",
            )
        elif own.base_alignment < DISTANT_ALIGNMENT:
            yield Sentence(
                "attention",
                f"{model.label} is far from this base: its weights have a cosine of {own.base_alignment:.2f} with the "
                "base's, and fine-tunes have more than 0.9. Check whether it was trained from another one.",
            )
        elif apart:
            yield Sentence(
                "attention",
                f"{model.label} has {apart} of {len(matrices)} matrices that "
                "have nothing in common with the base's: layers from elsewhere, or started afresh.",
            )


def _unmoved(totals: Totals) -> Iterator[Sentence]:
    for model in totals.models:
        if not model.norm > 0:
            yield Sentence("attention", f"{model.label} equals the base: it brings nothing to the merge.")


def _copies(totals: Totals) -> Iterator[Sentence]:
    for pair in totals.pairs:
        if pair.cosine > COPY_COSINE:
            yield Sentence(
                "attention",
                f"{pair.one} and {pair.other} are nearly copies (cosine {pair.cosine:.3f}): a sum counts what they "
                "learned twice. Leave one out, or give each half the weight.",
            )


def _opposed(totals: Totals) -> Iterator[Sentence]:
    for pair in totals.pairs:
        if pair.cosine < OPPOSED_COSINE:
            yield Sentence(
                "attention",
                f"{pair.one} and {pair.other} move against each other (cosine {pair.cosine:.2f}): a sum undoes part of "
                "both.",
            )


def _unequal(totals: Totals) -> Iterator[Sentence]:
    moved = [model.norm for model in totals.models if model.norm > 0]
    if len(moved) < 2:
        return
    usual = median(moved)
    for model in totals.models:
        if model.norm > FAR * usual:
            yield Sentence(
                "attention",
                f"{model.label} moved {model.norm / usual:.1f} times as far as the median model: it dominates a sum. A "
                "lower weight evens that out.",
            )


def _pulling_apart(inspection: Inspection, totals: Totals) -> Iterator[Sentence]:
    known = [(layer.interference, layer) for layer in totals.layers if layer.interference is not None]
    if len(inspection.models) < 2 or len(known) < 3:
        return
    usual = median(value for value, _ in known)
    worst = sorted(known, key=lambda one: -one[0])[:_LAYERS]
    high = [(value, layer) for value, layer in worst if value > _UNEVEN * usual and value > 0]
    if not high:
        yield Sentence("note", f"The models disturb each other about evenly in all layers (interference {usual:.2f}).")
        return
    where = _layers_in_words([layer for _, layer in high], len({layer.tower for layer in totals.layers}) > 1)
    text = f"The models pull apart most in {where}: interference {high[0][0]:.2f}, {usual:.2f} in the median layer"
    yield Sentence("note", f"{text}{_worst_pair(inspection, [layer for _, layer in high])}.")


def _worst_pair(inspection: Inspection, layers: Sequence[LayerTotals]) -> str:
    labels, pairs = inspection.labels, pairs_of(len(inspection.models))
    if len(labels) < 3:
        return ""
    sums = [math.fsum(layer.pairs[place] or 0.0 for layer in layers) for place in range(len(pairs))]
    one, other = pairs[max(range(len(pairs)), key=sums.__getitem__)]
    return f"; {labels[one]} and {labels[other]} most"


def _layers_in_words(layers: Sequence[LayerTotals], several: bool) -> str:
    towers: dict[str, list[int]] = {}
    for layer in layers:
        towers.setdefault(layer.tower, []).append(layer.layer)
    parts = []
    for tower, numbers in towers.items():
        numbers.sort()
        row = len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1
        listed = f"{numbers[0]} to {numbers[-1]}" if row else ", ".join(map(str, numbers))
        words = f"layer {listed}" if len(numbers) == 1 else f"layers {listed}"
        parts.append(f"{words} of {tower}" if several else words)
    return " and ".join(parts)


def _signs(inspection: Inspection, totals: Totals) -> Iterator[Sentence]:
    count = sum(model.norm > 0 for model in totals.models)
    if count > 1:
        independent = (1 - count**-0.5) / 2
        yield Sentence(
            "note",
            f"{100 * totals.outvoted:.0f} % of the updates' magnitude has a sign that the others outvote; of "
            f"independent random updates it would be {100 * independent:.0f} %.",
        )


def _modules(totals: Totals) -> Iterator[Sentence]:
    leading = [(module, share) for module, share in totals.modules[:_MODULES] if share >= _LEAST_SHARE]
    if leading:
        listed = ", ".join(f"{module} ({100 * share:.0f} %)" for module, share in leading)
        yield Sentence("note", f"Most of the change, by squared norm, is in {listed}.")


def _rows(inspection: Inspection) -> Iterator[Sentence]:
    if len(inspection.models) < 2:
        return
    for table in _tables(inspection.tensors):
        alone, moved = sum(table.rows_moved_alone), sum(table.rows_moved_by[1:])
        if moved and alone / moved >= _LEAST_SHARE:
            yield Sentence(
                "note",
                f"{100 * alone / moved:.0f} % of the {moved:,} rows of {brief(table.name, 120)} that moved were moved "
                "by one model only: `other: rows` keeps them whole, an average divides them.",
            )


def _tables(tensors: Sequence[TensorFigures]) -> list[TensorFigures]:
    return [one for one in tensors if one.rows_moved_by and one.shape[0] > 16]


def _after(inspection: Inspection, totals: Totals) -> Iterator[Sentence]:
    held = [(model.share_held, model) for model in totals.models if model.share_held is not None and model.norm > 0]
    if inspection.output is None or not held:
        return
    least, most = min(held, key=lambda one: one[0]), max(held, key=lambda one: one[0])
    if least[0] < 0:
        yield Sentence("attention", f"The merged model moved against {least[1].label}: {least[0]:.2f} of its update.")
    if len(held) > 1:
        text = (
            f"Along each model's own update the merged model holds {least[0]:.2f} ({least[1].label}) to {most[0]:.2f} "
            f"({most[1].label}) of it."
        )
    else:
        text = f"The merged model holds {least[0]:.2f} of {least[1].label}'s update along it."
    aligned = [(model.alignment, model.label) for model in totals.models if model.alignment is not None]
    if len(aligned) > 1:
        low = min(aligned)
        text += f" Its main subspace covers {low[1]} least (alignment {low[0]:.2f})."
    yield Sentence("note", text)
    counted = over_accumulation(inspection.tensors)
    if counted is not None and counted > _COUNTED:
        yield Sentence(
            "note",
            f"Along its own directions the merged model holds {counted:.1f} times what its models ask for on average: "
            "what they share is counted more than once. `refine: [svc]` divides by it, and so does a smaller scale.",
        )
