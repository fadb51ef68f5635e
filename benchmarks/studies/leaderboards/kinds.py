"""What a board is, and the kinds of boards of which several are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.studies.leaderboards.rows import (
    ALL_OF_ADAPTERS,
    CLASSICAL,
    DC_LINEAR,
    DC_NONE,
    HABITS,
    HALF,
    READINGS,
    RECORDS,
    REFINED,
    REGRESSIONS_OF_SEEDS,
    SHORT,
    SPECTRAL,
    TWO_RULES,
    WITH_INPUTS,
    Item,
    simplex,
    with_rows,
)

BESIDE = ("rest", "regressions", "records")
"""What the names of boards end with that measure more methods on the models and inputs of a first one."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A suite, the methods merged on it, the scales tried, and the inputs per task for choosing and reporting."""

    title: str
    question: str
    suite: str
    full: bool
    methods: Sequence[Item]
    scales: str
    validation: int
    test: int
    rules: str = ""
    leave_out: str = ""
    only: Sequence[str] = ()
    """The tasks that are merged and scored, where those are not all of the suite."""
    seed: int = 0
    habit: str = "plain"
    """How the suite's full fine-tunes were trained; `mergeometry suite train --full --habit` lists the choices."""


def of_seed(seed: int) -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes of training seed {seed}", suite="text-8", full=True, seed=seed,
        question="Does the first board's result hold for its experts alone, or for any experts of these tasks?",
        methods=["own_blocks", *with_rows("iso_cts", "tsv_m", "dc_merge"), *CLASSICAL, *SPECTRAL,
                 DC_LINEAR,
                 *simplex("directions", "random"), *WITH_INPUTS],
        scales=SHORT, validation=100, test=400, rules=TWO_RULES,
    )  # fmt: skip


def more_tasks(suite: str, seed: int, scales: str, validation: int, test: int, *more: Item) -> Board:
    """The boards of 14 and 20 tasks with experts of another training seed."""
    return Board(
        title=f"Text, {suite.removeprefix('text-')} tasks, full fine-tunes of training seed {seed}", suite=suite,
        full=True, seed=seed, question="Does what more tasks cost depend on the experts' training seed?",
        methods=["own_blocks", *with_rows("iso_cts", "tsv_m", "dc_merge"), "average", "task_arithmetic", "ties",
                 *SPECTRAL, *more],
        scales=scales, validation=validation, test=test,
    )  # fmt: skip


def more_images(suite: str, tasks: int, seed: int, *more: Item) -> Board:
    """The boards of image classifiers with experts of another training seed."""
    return Board(
        title=f"Vision, {tasks} tasks, full fine-tunes of training seed {seed}", suite=suite, full=True, seed=seed,
        question="Does what was found on images hold for experts of another training seed?",
        methods=["own_blocks", *CLASSICAL, *SPECTRAL, *more],
        scales=SHORT, validation=60, test=300,
    )  # fmt: skip


def adapters(title: str, suite: str, only: Sequence[str] = (), more: Sequence[Item] = (), **sizes: Any) -> Board:
    """A board of LoRA experts for the study of `method: auto`: what it chooses among, at scale 1 and by `auto`."""
    methods = ["average", *more, "own_blocks", *SPECTRAL, DC_LINEAR]
    return Board(
        title=title, suite=suite, full=False, only=only, methods=methods, rules="norm_mean(per=model)",
        question="Which method should be taken for adapters, by what they are and how many?", **sizes,
    )  # fmt: skip


def ladder(title: str, suite: str, **sizes: Any) -> Board:
    return Board(
        title=title, suite=suite, full=False, methods=ALL_OF_ADAPTERS, rules=HALF,
        question="The ladder of 8, 14 and 20 tasks for adapters: how much of each is left?", **sizes,
    )  # fmt: skip


def rest(title: str, suite: str, *methods: Item, **sizes: Any) -> Board:
    """Methods that a first board of adapters had not measured, on its own inputs."""
    return Board(
        title=title, suite=suite, full=False, methods=methods,
        question="What do the methods keep that the first board of these experts left out?", **sizes,
    )  # fmt: skip


def regressions(title: str, suite: str, methods: Sequence[Item], **more: Any) -> Board:
    """Regressions without data on the models and inputs of another board, whose `own_blocks` they repeat."""
    return Board(
        title=f"{title}, regressions without data", suite=suite, methods=["own_blocks", *methods],
        question="Do covariances estimated from the task vectors, or a spectral cut, keep more than their directions?",
        **{"full": True, "scales": "0.2,0.3,0.5,0.75,1,1.5", **more},
    )  # fmt: skip


def regressions_of_seed(seed: int) -> Board:
    return regressions(f"Text, 8 tasks, full fine-tunes of training seed {seed}", "text-8", REGRESSIONS_OF_SEEDS,
                        seed=seed, scales=SHORT, validation=100, test=400)  # fmt: skip


def records(title: str, suite: str, **sizes: Any) -> Board:
    """Published merges of adapters, on the inputs of the first board of these experts."""
    return Board(
        title=title, suite=suite, full=False, methods=RECORDS,
        question="Do merges that were published for adapters, at their published settings, keep more?", **sizes,
    )  # fmt: skip


def refined(title: str, suite: str, *methods: Item, **more: Any) -> Board:
    """Refined merges of adapters, on the inputs of the first board of these experts."""
    return Board(
        title=f"{title}, refined merges", suite=suite, full=False, methods=methods or REFINED,
        question="Does a merge of adapters keep more where its size is restored, and at which scale?",
        **{"scales": "0.5,1", "rules": HALF, **more},
    )  # fmt: skip


def adapters_of_seed(title: str, suite: str, seed: int, **sizes: Any) -> Board:
    """Tests what `method: auto` chooses for adapters on LoRA experts of another seed, with what led on the first's."""
    return Board(
        title=f"{title} of training seed {seed}", suite=suite, full=False, seed=seed,
        methods=["own_blocks", "average", DC_NONE, *REFINED], rules=HALF,
        question="Does what was chosen for adapters hold for experts that no rule has seen?", **sizes,
    )  # fmt: skip


def by_layer(title: str, suite: str, *methods: Item, seed: int = 0, **sizes: Any) -> Board:
    """What full fine-tunes keep by CT-Merging, and by LARV's scale per layer beside one scale for all."""
    return Board(
        title=title, suite=suite, full=True, seed=seed, methods=["own_blocks", *methods], rules="larv",
        question="Does a scale for each layer keep more than one for all, and does CT-Merging hold for full models?",
        **sizes,
    )  # fmt: skip


def at_half(title: str, suite: str, *methods: Item, **more: Any) -> Board:
    """Test figures at scale 0.5 for the study of `method: auto`, where a board has them on validation inputs alone."""
    return Board(
        title=f"{title}, at half a scale", suite=suite, full=False, methods=methods, scales="0.5,1", rules=HALF,
        question="What is half a scale worth on adapters, on the board's own inputs?", **more,
    )  # fmt: skip


def readings(title: str, full: bool = True, seed: int = 0) -> Board:
    return Board(
        title=title, suite="text-8", full=full, seed=seed, methods=READINGS,
        question="Should both sides be decorrelated, the left alone, or neither, and does the frame matter?",
        scales="0.3,0.5,0.75,1", validation=60, test=200,
    )  # fmt: skip


def of_habit(habit: str, how: str, scales: str = "0.5,0.75,1") -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes {how}", suite="text-8", full=True, habit=habit,
        question="Does the first board's result hold for fine-tunes that others made?",
        methods=HABITS, scales=scales, validation=100, test=400,
    )  # fmt: skip


def refined_of_habit(habit: str, how: str, **sizes: Any) -> Board:
    """Refined merges, the rules for adapters among them, on the inputs of the first board of these fine-tunes."""
    return Board(
        title=f"Text, 8 tasks, full fine-tunes {how}, refined merges", suite="text-8", full=True, habit=habit,
        question="Is what `method: auto` chooses for adapters right for full models that were adapters?",
        methods=REFINED, **sizes,
    )  # fmt: skip
