"""What is compared on which suite: every figure of docs/leaderboards.md is of one of these boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.studies.leaderboards.rows import (
    ALL_OF_ADAPTERS,
    CLASSICAL,
    DC_GRID,
    DC_LINEAR,
    DC_NONE,
    HABITS,
    HALF,
    OTHER_RULES,
    OURS,
    RANKS,
    READINGS,
    RECORDS,
    REGRESSIONS,
    REGRESSIONS_OF_SEEDS,
    REGRESSIONS_WITH_ROWS,
    RHO,
    SCALES,
    SHORT,
    SIMPLEX,
    SPECTRAL,
    TEXT_14_ONLY,
    TWO_RULES,
    WITH_INPUTS,
    Item,
    per_model,
    simplex,
    with_rows,
)


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


def _other_seed(seed: int) -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes of training seed {seed}", suite="text-8", full=True, seed=seed,
        question="Does the first board's result hold for its experts alone, or for any experts of these tasks?",
        methods=["own_blocks", *with_rows("iso_cts", "tsv_m", "dc_merge"), *CLASSICAL, *SPECTRAL,
                 DC_LINEAR,
                 *simplex("directions", "random"), *WITH_INPUTS],
        scales=SHORT, validation=100, test=400, rules=TWO_RULES,
    )  # fmt: skip


def _more_tasks(suite: str, seed: int, scales: str, validation: int, test: int, *more: Item) -> Board:
    """The boards of 14 and 20 tasks with experts of another training seed."""
    return Board(
        title=f"Text, {suite.removeprefix('text-')} tasks, full fine-tunes of training seed {seed}", suite=suite,
        full=True, seed=seed, question="Does what more tasks cost depend on the experts' training seed?",
        methods=["own_blocks", *with_rows("iso_cts", "tsv_m", "dc_merge"), "average", "task_arithmetic", "ties",
                 *SPECTRAL, *more],
        scales=scales, validation=validation, test=test,
    )  # fmt: skip


def _more_images(suite: str, tasks: int, seed: int, *more: Item) -> Board:
    """The boards of image classifiers with experts of another training seed."""
    return Board(
        title=f"Vision, {tasks} tasks, full fine-tunes of training seed {seed}", suite=suite, full=True, seed=seed,
        question="Does what was found on images hold for experts of another training seed?",
        methods=["own_blocks", *CLASSICAL, *SPECTRAL, *more],
        scales=SHORT, validation=60, test=300,
    )  # fmt: skip


def _adapters(title: str, suite: str, only: Sequence[str] = (), more: Sequence[Item] = (), **sizes: Any) -> Board:
    """A board of LoRA experts for the study of `method: auto`: what it chooses among, at scale 1 and by `auto`."""
    methods = ["average", *more, "own_blocks", *SPECTRAL, DC_LINEAR]
    return Board(
        title=title, suite=suite, full=False, only=only, methods=methods, rules="norm_mean(per=model)",
        question="Which method should be taken for adapters, by what they are and how many?", **sizes,
    )  # fmt: skip


def _ladder(title: str, suite: str, **sizes: Any) -> Board:
    return Board(
        title=title, suite=suite, full=False, methods=ALL_OF_ADAPTERS, rules=HALF,
        question="The ladder of 8, 14 and 20 tasks for adapters: how much of each is left?", **sizes,
    )  # fmt: skip


def _rest(title: str, suite: str, *methods: Item, **sizes: Any) -> Board:
    """Methods that a first board of adapters had not measured, on its own inputs."""
    return Board(
        title=title, suite=suite, full=False, methods=methods,
        question="What do the methods keep that the first board of these experts left out?", **sizes,
    )  # fmt: skip


def _regressions(title: str, suite: str, methods: Sequence[Item], **more: Any) -> Board:
    """Regressions without data on the models and inputs of another board, whose `own_blocks` they repeat."""
    return Board(
        title=f"{title}, regressions without data", suite=suite, methods=["own_blocks", *methods],
        question="Do covariances estimated from the task vectors, or a spectral cut, keep more than their directions?",
        **{"full": True, "scales": "0.2,0.3,0.5,0.75,1,1.5", **more},
    )  # fmt: skip


def _regressions_of_seed(seed: int) -> Board:
    return _regressions(f"Text, 8 tasks, full fine-tunes of training seed {seed}", "text-8", REGRESSIONS_OF_SEEDS,
                        seed=seed, scales=SHORT, validation=100, test=400)  # fmt: skip


def _records(title: str, suite: str, **sizes: Any) -> Board:
    """Published merges of adapters, on the inputs of the first board of these experts."""
    return Board(
        title=title, suite=suite, full=False, methods=RECORDS,
        question="Do merges that were published for adapters, at their published settings, keep more?", **sizes,
    )  # fmt: skip


def _by_layer(title: str, suite: str, *methods: Item, seed: int = 0, **sizes: Any) -> Board:
    """What full fine-tunes keep by CT-Merging, and by LARV's scale per layer beside one scale for all."""
    return Board(
        title=title, suite=suite, full=True, seed=seed, methods=["own_blocks", *methods], rules="larv",
        question="Does a scale for each layer keep more than one for all, and does CT-Merging hold for full models?",
        **sizes,
    )  # fmt: skip


def _at_half(title: str, only: Sequence[str] = (), more: Sequence[Item] = ()) -> Board:
    """Test figures at scale 0.5 for the study of `method: auto`, where a board has them on validation inputs alone."""
    return Board(
        title=title, suite="text-8", full=False, only=only, methods=["own_blocks", *more], scales="0.5,1",
        question="What is half a scale worth on adapters, on the board's own inputs?",
        validation=60 if only else 75, test=250, rules=HALF,
    )  # fmt: skip


def _readings(title: str, full: bool = True, seed: int = 0) -> Board:
    return Board(
        title=title, suite="text-8", full=full, seed=seed, methods=READINGS,
        question="Should both sides be decorrelated, the left alone, or neither, and does the frame matter?",
        scales="0.3,0.5,0.75,1", validation=60, test=200,
    )  # fmt: skip


def _of_habit(habit: str, how: str, scales: str = "0.5,0.75,1") -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes {how}", suite="text-8", full=True, habit=habit,
        question="Does the first board's result hold for fine-tunes that others made?",
        methods=HABITS, scales=scales, validation=100, test=400,
    )  # fmt: skip


BOARDS = {
    "text-8-full": Board(
        title="Text, 8 tasks, full fine-tunes", suite="text-8", full=True,
        question="Which method keeps most of eight full fine-tunes of one small encoder?",
        methods=[*OURS, *CLASSICAL, "knots", *SPECTRAL, DC_LINEAR, *simplex("directions", "tasks", "neurons", "random"),
                 *WITH_INPUTS],
        scales=SHORT, validation=100, test=400, rules=TWO_RULES,
    ),
    "text-8-full-seed-1": _other_seed(1),
    "text-8-full-seed-2": _other_seed(2),
    "text-8-full-regressions": _regressions("Text, 8 tasks, full fine-tunes", "text-8", REGRESSIONS_WITH_ROWS,
                                            validation=100, test=400),
    "text-8-full-regressions-seed-1": _regressions_of_seed(1),
    "text-8-full-regressions-seed-2": _regressions_of_seed(2),
    "text-14-full-regressions": _regressions("Text, 14 tasks, full fine-tunes", "text-14", REGRESSIONS_WITH_ROWS,
                                             validation=80, test=250),
    "vision-6-full-regressions": _regressions("Vision, 6 tasks, full fine-tunes", "vision-6", REGRESSIONS,
                                              validation=60, test=300),
    "text-8-adapters-regressions": _regressions("Text, 8 tasks, LoRA experts", "text-8", REGRESSIONS, full=False,
                                                validation=75, test=250),
    "text-8-full-weight-decay": _of_habit("weight-decay", "with weight decay 0.01", SHORT),
    "text-8-full-strong-decay": _of_habit("strong-decay", "with weight decay 0.1"),
    "text-8-full-low-rate": _of_habit("low-rate", "with weight decay, at a sixth of the rate"),
    "text-8-full-few-steps": _of_habit("few-steps", "with weight decay, one epoch"),
    "text-8-full-many-steps": _of_habit("many-steps", "with weight decay, twelve epochs"),
    "text-8-full-bfloat16": _of_habit("bfloat16", "with weight decay, saved in bfloat16"),
    "text-14-full": Board(
        title="Text, 14 tasks, full fine-tunes", suite="text-14", full=True,
        question="The same tasks and more, too many for the weights to hold.",
        methods=[*OURS, *CLASSICAL, *SPECTRAL, *simplex("directions", "tasks"), *WITH_INPUTS],
        scales=SCALES, validation=80, test=250,
    ),
    "text-20-full": Board(
        title="Text, 20 tasks, full fine-tunes", suite="text-20", full=True,
        question="The last step from 8 to 14 to 20 tasks: what is left when so many models share the weights?",
        methods=["own_blocks", *with_rows("iso_cts", "dc_merge", "tsv_m"), *SPECTRAL, "average", "task_arithmetic",
                 "ties"],
        scales="0.3,0.5,0.75,1", validation=60, test=200,
    ),
    "text-14-full-seed-1": _more_tasks("text-14", 1, SCALES, 80, 250, *WITH_INPUTS),
    "text-14-full-seed-2": _more_tasks("text-14", 2, SCALES, 80, 250, *WITH_INPUTS),
    "text-20-full-seed-1": _more_tasks("text-20", 1, "0.3,0.5,0.75,1", 60, 200),
    "text-20-full-seed-2": _more_tasks("text-20", 2, "0.3,0.5,0.75,1", 60, 200),
    "text-8-adapters": Board(
        title="Text, 8 tasks, LoRA experts", suite="text-8", full=False,
        question="The same tasks as rank-16 adapters, and how good scales without labels are there.",
        methods=["own_blocks", "task_arithmetic", *SPECTRAL],
        scales=SHORT, validation=75, test=250, rules="one, norm_mean, projection, " + per_model(*OTHER_RULES),
    ),
    "text-2-adapters": _adapters("Text, 2 tasks, LoRA experts", "text-8", ("movie", "r8"), ["task_arithmetic", "ties"],
                                 scales="0.3,0.5,0.75,1", validation=60, test=250),
    "text-8-adapters-half": _at_half("Text, 8 tasks, LoRA experts, at half a scale"),
    "text-2-adapters-half": _at_half("Text, 2 tasks, LoRA experts, at half a scale", ("movie", "r8"), [DC_NONE]),
    "text-8-adapters-rest": _rest("Text, 8 tasks, LoRA experts, further methods", "text-8", "average", "ties",
                                  scales=SHORT, validation=75, test=250),
    "text-8-adapters-records": _records("Text, 8 tasks, LoRA experts, published merges of adapters", "text-8",
                                        scales="0.3,0.5,1,1.5,2", validation=75, test=250),
    "vision-rest": _rest("Vision, 9 tasks, LoRA experts, further methods", "vision", "average", "dc_merge",
                         scales="0.3,0.5,1", validation=30, test=100),
    "vision-6-adapters-records": _records("Vision, 6 tasks, LoRA experts, published merges of adapters", "vision-6",
                                          scales="0.5,1,2", validation=30, test=100),
    "vision-6-adapters-rest": _rest("Vision, 6 tasks, LoRA experts, further methods", "vision-6", "dc_merge",
                                    scales="0.5,1", validation=30, test=100),
    "text-6-adapters": _adapters("Text, 6 other tasks, LoRA experts", "text-14", TEXT_14_ONLY,
                                 scales="0.5,1", validation=50, test=200),
    "text-14-adapters": _ladder("Text, 14 tasks, LoRA experts", "text-14", scales="0.2,0.3,0.5,1",
                                validation=40, test=150),
    "text-20-adapters": _ladder("Text, 20 tasks, LoRA experts", "text-20", scales="0.3,0.5,1", validation=30,
                                test=100),
    "vision-6-adapters": _adapters("Vision, 6 tasks, LoRA experts", "vision-6",
                                   scales="0.5,1", validation=30, test=100),
    "text-8-full-records": _by_layer("Text, 8 tasks, full fine-tunes, scales per layer", "text-8",
                                     "ct_merging", *with_rows("ct_merging"), "iso_c", scales="0.5,1",
                                     validation=100, test=400),
    "text-8-full-records-seed-1": _by_layer("Text, 8 tasks, full fine-tunes of seed 1, scales per layer", "text-8",
                                            *with_rows("ct_merging"), seed=1, scales="0.5,1", validation=100,
                                            test=400),
    "text-8-full-records-seed-2": _by_layer("Text, 8 tasks, full fine-tunes of seed 2, scales per layer", "text-8",
                                            *with_rows("ct_merging"), seed=2, scales="0.5,1", validation=100,
                                            test=400),
    "vision-6-full-records": _by_layer("Vision, 6 tasks, full fine-tunes, scales per layer", "vision-6", "ct_merging",
                                       "iso_c", scales="0.5,1", validation=60, test=300),
    "vision-6-full": Board(
        title="Vision, 6 tasks, full fine-tunes", suite="vision-6", full=True,
        question="Does what was found on texts hold for a vision transformer, which has no table of words?",
        methods=["own_blocks", *CLASSICAL, "knots", *SPECTRAL, *simplex("directions", "random"), *WITH_INPUTS],
        scales=SCALES, validation=60, test=300, rules=TWO_RULES,
    ),
    "vision-full": Board(
        title="Vision, 9 tasks, full fine-tunes", suite="vision", full=True,
        question="The same with three more tasks, which almost any update for another task harms.",
        methods=["own_blocks", *CLASSICAL, *SPECTRAL, *simplex("directions")],
        scales=SCALES, validation=60, test=300, rules=TWO_RULES,
    ),
    "vision-6-full-seed-1": _more_images("vision-6", 6, 1, "knots", *WITH_INPUTS),
    "vision-6-full-seed-2": _more_images("vision-6", 6, 2, "knots", *WITH_INPUTS),
    "vision-full-seed-1": _more_images("vision", 9, 1),
    "vision-full-seed-2": _more_images("vision", 9, 2),
    "vision": Board(
        title="Vision, 9 tasks, LoRA experts", suite="vision", full=False,
        question="Does what was found on texts hold for adapters of a vision transformer, which has no table of words?",
        methods=["own_blocks", "task_arithmetic", *SPECTRAL],
        scales="0.3,0.5,1", validation=30, test=100,
    ),
    "language-model": Board(
        title="Language model, 6 domains, LoRA experts", suite="language-model", full=False,
        question="Does what was found on encoders hold for adapters of a model that writes text, by its perplexity?",
        methods=["own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, DC_NONE],
        scales="0.5,1", validation=6, test=16,
    ),
    "unseen": Board(
        title="Text, 12 of 14 tasks merged, 2 never seen", suite="text-14", full=True, leave_out="trec,amazon",
        question="What does a merge know about tasks that none of its models was trained on?",
        methods=["own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, *simplex("directions")],
        scales="0.2,0.5,0.75,1", validation=50, test=200,
    ),
    "dc-merge": Board(
        title="DC-Merge's choices", suite="text-8", full=True,
        question="What do smoothing, selection and the block mask each do?",
        methods=[*DC_GRID, *RHO], scales="0.5,1", validation=50, test=200,
    ),
    "simplex": Board(
        title="Readings of the simplex step", suite="text-8", full=True,
        question="Does any reading of MDA's simplex step help a merge, on any core, side or layers?",
        methods=SIMPLEX, scales="0.5,0.75,1", validation=100, test=400,
    ),
    "mda-readings": _readings("Readings of MDA's subspace"),
    "mda-readings-seed-1": _readings("Readings of MDA's subspace, training seed 1", seed=1),
    "mda-readings-seed-2": _readings("Readings of MDA's subspace, training seed 2", seed=2),
    "mda-readings-adapters": _readings("Readings of MDA's subspace, LoRA experts", full=False),
    "dc-merge-adapters": Board(
        title="DC-Merge's settings, LoRA experts", suite="text-8", full=False,
        question="Do the settings of its authors for adapters, and the methods they compare with, rank here as there?",
        methods=[*({"name": f"dc_merge {how}", "method": {"name": "dc_merge", "smoothing": how}}
                   for how in ("average", "linear", "none")),
                 {"name": "dc_merge average, no mask",
                  "method": {"name": "dc_merge", "smoothing": "average", "block_mask": False}},
                 "task_arithmetic", "tsv_m", "iso_cts", "wudi"],
        scales="0.2,0.3,0.5,1", validation=40, test=120,
    ),
    "text-8-full-rules": Board(
        title="Scales without labels, full fine-tunes", suite="text-8", full=True,
        question="How good is every rule for scales where task vectors are long?",
        methods=["own_blocks", "task_arithmetic", "ties", "iso_cts", "dc_merge"],
        scales=SHORT, validation=75, test=250, rules="one, norm_mean, projection, " + per_model(*OTHER_RULES),
    ),
    "ranks": Board(
        title="Ranks", suite="text-8", full=True,
        question="How many directions of each task does a merge need?",
        methods=RANKS, scales="0.5,1", validation=50, test=200,
    ),
}  # fmt: skip
