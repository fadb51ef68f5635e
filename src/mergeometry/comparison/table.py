"""Assembles a comparison's result from the scores of single inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from mergeometry.activations.estimate import estimate
from mergeometry.comparison.figures import Ends, difference, figures_of, measured, shown, worth
from mergeometry.comparison.gain import Correct
from mergeometry.comparison.read_inputs import TEST, VALIDATION
from mergeometry.comparison.result import CompareRow, Comparison, Measure, RuleFigures
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.rules import Ruled, needs_of, ruled
from mergeometry.comparison.scales import nearest_to_one
from mergeometry.comparison.scoring import Scored
from mergeometry.comparison.setup import Setup
from mergeometry.plan import Plan
from mergeometry.recipe.scale import ScaleRule


def best_scale(setup: Setup, cache: ResultCache, entry: int, scales: Sequence[float]) -> float:
    """The best scale on the validation inputs; among equals the nearest to 1."""
    return nearest_to_one(scales, [_worth(setup, cache, entry, scale) for scale in scales])


def ruled_scales(
    setup: Setup, cache: ResultCache, entry: int, scales: Sequence[float], rules: Sequence[ScaleRule]
) -> list[Ruled]:
    """Every rule's scales for an entry whose validation is finished."""
    if not rules:
        return []
    known = (1.0, best_scale(setup, cache, entry, scales))
    return ruled(rules, cache.measured(entry, needs_of(rules)), known)


def tested_at(
    setup: Setup, cache: ResultCache, entry: int, scales: Sequence[float], rules: Sequence[ScaleRule]
) -> list[float | Mapping[str, float]]:
    """The scales that an entry is tested at: 1, the validated one, and those of the rules."""
    by_rule = [one.at for one in ruled_scales(setup, cache, entry, scales, rules) if one.at is not None]
    return [1.0, best_scale(setup, cache, entry, scales), *by_rule]


def table_of(
    setup: Setup,
    cache: ResultCache,
    scales: tuple[float, ...],
    rules: tuple[ScaleRule, ...],
    seconds: float,
    peak_memory: int,
) -> Comparison:
    """The result of a comparison whose scores are all known; rows are sorted by the gain at their chosen scale."""
    base, measure = cache.scored(cache.base(TEST)), _measure(cache)
    ends = Ends(measure, setup.seen, setup.unseen, base.scores, _experts(setup, cache, TEST), base.weights)
    tested = [
        (entry, cache.scored(cache.point(entry, best_scale(setup, cache, entry, scales), TEST)))
        for entry in range(len(setup.entries))
    ]
    tested.sort(key=lambda pair: (-difference(pair[1].scores, base.scores, ends)[0], pair[0]))
    rows = []
    for entry, at_best in tested:
        behind, behind_spread = difference(tested[0][1].scores, at_best.scores, ends)
        at_one = cache.scored(cache.point(entry, 1.0, TEST))
        regret, regret_spread = difference(at_best.scores, at_one.scores, ends)
        plan = setup.plans[entry]
        rows.append(
            CompareRow(
                name=setup.entries[entry].name,
                method=plan.recipe.method.model_dump(mode="json"),
                refine=[step.model_dump(mode="json") for step in plan.recipe.refine],
                validation={f"{s:.10g}": shown(measure, _worth(setup, cache, entry, s)) for s in scales},
                best_scale=best_scale(setup, cache, entry, scales),
                at_one=figures_of(at_one.scores, ends),
                at_best=figures_of(at_best.scores, ends),
                behind=behind,
                behind_spread=behind_spread,
                regret_at_one=regret,
                regret_spread=regret_spread,
                seconds=cache.value(cache.merging(entry))["seconds"],
                memory=_memory(setup, plan),
                rules={
                    one.rule.text: _rule_figures(cache, entry, one, at_best.scores, ends)
                    for one in ruled_scales(setup, cache, entry, scales, rules)
                },
                other=plan.recipe.model_dump(mode="json")["other"],
            )
        )
    validation = cache.scored(cache.base(VALIDATION))
    experts = _experts(setup, cache, VALIDATION)
    return Comparison(
        measure=measure,
        seen=setup.seen,
        unseen=setup.unseen,
        inputs=setup.counts,
        scales=scales,
        base=measured(measure, base.scores, base.weights),
        experts=measured(measure, ends.experts, ends.weights),
        base_validation=shown(measure, worth(validation.scores, validation.weights, setup.seen)),
        experts_validation=shown(measure, worth(experts, validation.weights, setup.seen)),
        rows=tuple(rows),
        notes=(
            *setup.notes,
            *(
                f"{one.name}: {note}"
                for entry, one in enumerate(setup.entries)
                for note in cache.value(cache.merging(entry)).get("notes", [])
            ),
        ),
        seed=setup.recipe.seed,
        seconds=seconds,
        peak_memory=peak_memory,
        rules=tuple(rule.text for rule in rules),
    )


def _rule_figures(cache: ResultCache, entry: int, one: Ruled, at_best: Correct, ends: Ends) -> RuleFigures:
    rule = (one.rule.rule, one.rule.per, one.rule.factor)
    if one.at is None:
        return RuleFigures(*rule, None, None, None, one.without, None, None, None, None, None, one.problem)
    scores = cache.scored(cache.ruled(entry, one.at)).scores
    figures, (regret, spread) = figures_of(scores, ends), difference(at_best, scores, ends)
    return RuleFigures(
        *rule, median(one.scales), min(one.scales), max(one.scales), one.without, figures.mean, figures.gain_kept,
        figures.spread, regret, spread, one.problem,
    )  # fmt: skip


def _memory(setup: Setup, plan: Plan) -> int:
    """Peak memory of a merge: while its models are run, or while they are merged."""
    section = plan.recipe.data
    running = 0 if section is None else estimate(plan, section, setup.unlabelled).memory
    return max(plan.peak_memory(1), running)


def _experts(setup: Setup, cache: ResultCache, split: str) -> Mapping[str, Sequence[float]]:
    """Every expert's scores on its own task."""
    scores: dict[str, Sequence[float]] = {}
    for place, model in enumerate(setup.plans[0].models):
        if model.label in setup.seen:
            scores[model.label] = cache.scored(cache.expert(place, split)).scores[model.label]
    return {task: scores[task] for task in setup.seen}


def _worth(setup: Setup, cache: ResultCache, entry: int, scale: float) -> float:
    scored: Scored = cache.scored(cache.point(entry, scale, VALIDATION))
    return worth(scored.scores, scored.weights, setup.seen)


def _measure(cache: ResultCache) -> Measure:
    return "accuracy" if cache.scored(cache.base(TEST)).weights is None else "perplexity"
