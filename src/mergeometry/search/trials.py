"""Searches a space by validation score: from the recipe as it is written, trial after trial, within a budget."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.comparison.dry_run import core_seconds
from mergeometry.comparison.figures import shown, worth
from mergeometry.comparison.read_inputs import TEST, VALIDATION
from mergeometry.comparison.result import Measure
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.scoring import Scored, ScoreJob, settings_of
from mergeometry.comparison.setup import Setup
from mergeometry.errors import RecipeError
from mergeometry.plan.build import make_plan
from mergeometry.recipe import Recipe
from mergeometry.recipe.search import SearchSection
from mergeometry.search.jobs import Say, Trial, run_trials
from mergeometry.search.space import Space, Values
from mergeometry.search.study import Study

_JOURNAL = "trials.journal"


@dataclass(frozen=True, slots=True)
class Searched:
    """The recipe that a search leads to, and what the run record says of it."""

    recipe: Recipe
    summary: dict[str, Any]


def search(setup: Setup, section: SearchSection, kept: Path, target: Path, *, say: Say, **options: Any) -> Searched:
    """Try recipes until the budget is spent, and take the best on validation inputs, among equals the first.

    The first is the recipe as it is written, so the result is never worse than it on these inputs. Trials are kept in
    the folder ``kept``; ``options`` are those of `run_trials`.

    Raises:
        RecipeError: the budget allowed no trial beside the recipe as it is written.
        MergeometryError: an input changed, a value is not finite, a method fails, or disk or memory are too small.
    """
    started, space = time.perf_counter(), Space(setup.plans[0], section)
    cache = ResultCache(setup, kept)
    identity = _digest([cache.identity, cache.point(0, 1.0, VALIDATION), section.question, setup.recipe.canonical()])
    study = Study(kept / _JOURNAL, identity, space, setup.recipe.seed)
    trials = _Trials(setup, section, space, study, identity)
    ends = _ends(setup, cache)
    seconds = core_seconds(setup, [1.0] * (section.trials or 100))
    notes = run_trials(
        setup, cache, trials, target, seconds, ends=[one for one in ends if not cache.has(one.key)],
        say=say, **options,
    )  # fmt: skip
    finished = study.finished
    if len(finished) < 2:
        raise RecipeError(
            f"the budget of {section.minutes:g} minutes allowed no trial beside the recipe as it is written, which "
            f"took {study.seconds:.0f} s",
            hint="allow more minutes, and continue with --resume; or give the scale a grid, which merges once",
        )
    scores = [score for _, score in finished]
    best = scores.index(max(scores))
    recipe = space.recipe(finished[best][0])
    summary = _summary(setup, cache, finished, best)
    if TEST in setup.splits:
        summary["test"] = _tested(setup, cache, [space.recipe(space.start), recipe], target, say=say, **options)
    summary |= {
        "asked": section.model_dump(mode="json"),
        "tasks": section.tasks,
        "tasks_digest": f"sha256:{setup.digest}",
        "notes": [*setup.notes, *notes],
        "seconds": time.perf_counter() - started,
    }
    return Searched(recipe, summary)


class _Trials:
    """One trial after another, each by what all before it have scored."""

    def __init__(self, setup: Setup, section: SearchSection, space: Space, study: Study, identity: str) -> None:
        self._section, self._space, self._study, self._identity = section, space, study, identity
        self._tasks = setup.seen
        self._number: int | None = None
        self._before, self._started = study.seconds, time.perf_counter()

    def next(self) -> Trial | None:
        """The next trial, once the last has its score and while the budget lasts."""
        if self._number is not None or self._spent:
            return None
        done = len(self._study.finished)
        self._number, values = self._study.ask()
        text = f"trial {done + 1}" + (f" of {self._section.trials}" if self._section.trials else "")
        plan = make_plan(self._space.recipe(values))
        return Trial(f"trial-{_digest([self._identity, values])[:32]}", text, plan)

    def take(self, trial: Trial, scored: Scored) -> None:
        """Tell the study what the trial has scored."""
        del trial
        assert self._number is not None
        number, self._number = self._number, None
        self._study.tell(number, worth(scored.scores, scored.weights, self._tasks))

    @property
    def _spent(self) -> bool:
        trials, minutes = self._section.trials, self._section.minutes
        if trials is not None and len(self._study.finished) >= trials:
            return True
        return minutes is not None and self._before + time.perf_counter() - self._started >= 60 * minutes


class _Listed:
    """Given trials, one after another."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._left, self._waiting = list(trials), False
        self.scored: dict[str, Scored] = {}

    def next(self) -> Trial | None:
        """The next of them, once the last has its score."""
        if self._waiting or not self._left:
            return None
        self._waiting = True
        return self._left.pop(0)

    def take(self, trial: Trial, scored: Scored) -> None:
        """Keep the scores of a trial."""
        self._waiting = False
        self.scored[trial.key] = scored


def _tested(
    setup: Setup, cache: ResultCache, recipes: Sequence[Recipe], target: Path, **options: Any
) -> dict[str, float]:
    """The mean test score of the recipe as it is written, and of the chosen one."""
    keys = [f"test-{_digest([cache.identity, recipe.canonical()])[:32]}" for recipe in recipes]
    trials = [
        Trial(key, "the test inputs", make_plan(recipe), split=TEST) for key, recipe in zip(keys, recipes, strict=True)
    ]
    listed = _Listed([trials[0]] if keys[0] == keys[1] else trials)
    run_trials(setup, cache, listed, target, core_seconds(setup, [1.0]), **options)
    found = [shown(_measure(one), worth(one.scores, one.weights, setup.seen)) for one in map(cache.scored, keys)]
    return dict(zip(("start", "chosen"), found, strict=True))


def _ends(setup: Setup, cache: ResultCache) -> list[ScoreJob]:
    """The base on all tasks, and each expert on its own."""
    settings = settings_of(setup, cache.identity)
    jobs = [ScoreJob(cache.base(VALIDATION), settings, VALIDATION, setup.seen)]
    for place, model in enumerate(setup.plans[0].models):
        if model.label in setup.seen:
            jobs.append(ScoreJob(cache.expert(place, VALIDATION), settings, VALIDATION, (model.label,), expert=place))
    return jobs


def _summary(setup: Setup, cache: ResultCache, finished: Sequence[tuple[Values, float]], best: int) -> dict[str, Any]:
    base, *experts = [cache.scored(job.key) for job in _ends(setup, cache)]
    measure, scores = _measure(base), [score for _, score in finished]
    lower = worth(base.scores, base.weights, setup.seen)
    upper = sum(worth(one.scores, one.weights, list(one.scores)) for one in experts) / len(experts)
    return {
        "measure": measure,
        "trials": [{"values": dict(values), "score": shown(measure, score)} for values, score in finished],
        "chosen": best,
        "base": shown(measure, lower),
        "experts": shown(measure, upper),
        "gain_kept": (scores[best] - lower) / (upper - lower) if upper > lower else None,
        "gain_kept_at_start": (scores[0] - lower) / (upper - lower) if upper > lower else None,
        "inputs": setup.counts,
    }


def _measure(scored: Scored) -> Measure:
    return "accuracy" if scored.weights is None else "perplexity"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
