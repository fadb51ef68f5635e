"""What each model costs the others: every method again without it, scored on the others' tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mergeometry.comparison.figures import Ends, difference
from mergeometry.comparison.own_folder import RESULTS, WITHOUT
from mergeometry.comparison.read_inputs import TEST
from mergeometry.comparison.result import Comparison, LeftOut
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.run import Say, run_comparison
from mergeometry.comparison.setup import Setup
from mergeometry.comparison.table import best_scale
from mergeometry.errors import RecipeError
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.head_files import safe_name
from mergeometry.execution.workers import MemoryLimit


def check_enough_models(setup: Setup) -> None:
    """Refuse to leave one model out where nothing is left to score.

    Raises:
        RecipeError: fewer than two tasks have a model in the merge.
    """
    if len(setup.seen) < 2:
        raise RecipeError("leaving a model out takes at least two scored models", hint="leave --leave-one-out out")


def with_models_left_out(
    comparison: Comparison,
    setup: Setup,
    without: Callable[[str], Setup],
    output: Path,
    scales: Sequence[float],
    *,
    workers: int | None = None,
    say: Say | None = None,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
) -> Comparison:
    """Add to a finished comparison what the others gain without each model, by every method.

    ``without`` sets the comparison up without one model. Each method's scale is chosen again on the validation inputs
    of the models that remain. Scores are kept in ``output``, so that a second run continues from them.

    Raises:
        MergeometryError: as `run_comparison`.
    """
    left_out: list[LeftOut] = []
    for name in setup.seen:
        smaller, folder = without(name), output / WITHOUT / safe_name(name)
        run_comparison(smaller, folder, scales, workers=workers, say=say, memory_limit=memory_limit, executor=executor)
        left_out += _compared(comparison, setup, smaller, output, folder, name, scales)
    return replace(comparison, left_out=tuple(left_out))


def _compared(
    comparison: Comparison,
    setup: Setup,
    smaller: Setup,
    output: Path,
    folder: Path,
    name: str,
    scales: Sequence[float],
) -> Iterator[LeftOut]:
    whole, part = ResultCache(setup, output / RESULTS), ResultCache(smaller, folder / RESULTS)
    base = whole.scored(whole.base(TEST))
    ends = Ends(comparison.measure, smaller.seen, (), base.scores, {}, base.weights)
    places = {entry.name: place for place, entry in enumerate(smaller.entries)}
    for place, entry in enumerate(setup.entries):
        if entry.name not in places:
            continue
        of_all = best_scale(setup, whole, place, scales)
        of_others = best_scale(smaller, part, places[entry.name], scales)
        gain, spread = difference(
            part.scored(part.point(places[entry.name], of_others, TEST)).scores,
            whole.scored(whole.point(place, of_all, TEST)).scores,
            ends,
        )
        yield LeftOut(name, entry.name, of_all, of_others, gain, spread)
