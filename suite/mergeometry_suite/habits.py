"""Habits: how other people train and save full fine-tunes, as named regimes to measure merges on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from mergeometry.cache import cache_folder
from mergeometry.errors import DataError
from mergeometry.words import nearest
from mergeometry_suite.experts import Expert
from mergeometry_suite.folded import save_folded
from mergeometry_suite.forms import FULL, Form
from mergeometry_suite.full import FullRegime, full_folder, load_full_expert, save_full_expert, train_full
from mergeometry_suite.loop import Trained
from mergeometry_suite.packages import MINILM
from mergeometry_suite.train import Regime, train_adapter

PLAIN = "plain"
"""The regime of the suite's own boards: Adam without weight decay, saved in 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Habit:
    """A way to train and save a full model; ``saved`` is the dtype of the file.

    ``train`` and ``save`` are called as those of a `Form`, ``save`` with the dtype.
    """

    title: str
    regime: FullRegime | Regime
    saved: torch.dtype = torch.float32
    train: Callable[..., Trained] = train_full
    save: Callable[..., None] = save_full_expert


HABITS: Mapping[str, Habit] = {
    PLAIN: Habit(title="no weight decay", regime=FullRegime()),
    "weight-decay": Habit(
        title="the weight decay of torch's AdamW, 0.01, on every weight", regime=FullRegime(weight_decay=0.01)
    ),
    "strong-decay": Habit(
        title="the weight decay of language models, 0.1, on every weight", regime=FullRegime(weight_decay=0.1)
    ),
    "low-rate": Habit(
        title="weight decay 0.01 at a sixth of the learning rate, 5e-5",
        regime=FullRegime(weight_decay=0.01, learning_rate=5e-5),
    ),
    "few-steps": Habit(
        title="weight decay 0.01, one epoch instead of four", regime=FullRegime(weight_decay=0.01, epochs=1)
    ),
    "many-steps": Habit(
        title="weight decay 0.01, twelve epochs instead of four", regime=FullRegime(weight_decay=0.01, epochs=12)
    ),
    "bfloat16": Habit(
        title="weight decay 0.01, trained in 32 bits and saved in bfloat16",
        regime=FullRegime(weight_decay=0.01),
        saved=torch.bfloat16,
    ),
    "folded": Habit(
        title="a LoRA adapter of rank 16, folded into the weights",
        regime=Regime(),
        train=train_adapter,
        save=save_folded,
    ),
}


def find_habit(name: str) -> Habit:
    """Return the habit of a name.

    Raises:
        DataError: there is no such habit.
    """
    if name not in HABITS:
        raise DataError(
            f"there is no habit {name!r}{nearest(name, [*HABITS])}", hint="the habits: " + ", ".join(HABITS)
        )
    return HABITS[name]


def habit_form(name: str) -> Form:
    """Return how full fine-tunes of a habit are trained, written and read.

    Raises:
        DataError: there is no such habit.
    """
    habit = find_habit(name)
    if name == PLAIN:
        return FULL
    save = partial(habit.save, dtype=habit.saved)
    command = f"{FULL.command} --habit {name}"
    return replace(FULL, command=command, regime=habit.regime, train=habit.train, save=save)


def habit_folder(name: str, seed: int = 0) -> Path:
    """Return the folder in the cache that a habit's full fine-tunes of a training seed are trained into.

    Backbone, regime and dtype are part of its name: fine-tunes of different kinds never mix.

    Raises:
        DataError: there is no such habit.
    """
    habit = find_habit(name)
    if name == PLAIN:
        return full_folder(seed)
    identity = (MINILM.sha256, replace(habit.regime, seed=seed), habit.saved)
    recipe = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    return cache_folder() / "experts" / f"{MINILM.name}-full-{name}-{recipe}"


def load_habit_expert(task: str, habit: str = PLAIN, seed: int = 0) -> Expert:
    """Return the full fine-tune of a task in the cache, of a habit and a training seed.

    Raises:
        DataError: there is no such task or habit, or the fine-tune is not trained yet.
    """
    form = habit_form(habit)
    return load_full_expert(task, habit_folder(habit, seed) / task, seed=seed, command=form.command)
