"""What an expert says of its inputs without labels: how sure it is, and of which classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SURE = 0.8
"""An expert that gives no input's class this probability knows nothing of the inputs."""


@dataclass(frozen=True, slots=True)
class Said:
    """``classes`` counts the inputs predicted as each class; ``sure`` is the mean probability of the class predicted.

    ``surest`` is the largest probability of any input.
    """

    classes: tuple[int, ...]
    sure: float
    surest: float


def said_of(logits: Float[Tensor, "inputs classes"]) -> Said:
    """Sum up an expert's predictions; ValueError if there are none."""
    if not len(logits):
        raise ValueError("no predictions to sum up")
    best = logits.double().softmax(dim=1).max(dim=1)
    counts = torch.bincount(best.indices, minlength=logits.shape[1])
    return Said(tuple(counts.tolist()), float(best.values.mean()), float(best.values.max()))


def warnings_of(said: Said) -> list[str]:
    """What makes inputs unfit to learn a task from."""
    notes = []
    if said.surest < SURE:
        notes.append(
            f"the expert is sure of none of the inputs made (its largest probability is {said.surest:.2f}), so they "
            "say little about its task: give the task some data"
        )
    if never := said.classes.count(0):
        notes.append(
            f"{never} of {len(said.classes)} classes are predicted for none of the inputs made, so nothing keeps them: "
            "give the task some data"
        )
    return notes
