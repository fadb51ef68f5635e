"""All that stays the same while coefficients are learned: the model, inputs, experts, and terms of the objective."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mergeometry.encoders.base import Inputs
from mergeometry.learning.experts import ExpertFeatures
from mergeometry.learning.merged import MergedModel
from mergeometry.learning.objective import Objective, TaskTerms
from mergeometry.learning.processes import Alone, Processes
from mergeometry.learning.rotation import TaskRotation


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What the passes of every step read, and none of them changes."""

    merged: MergedModel
    inputs: Sequence[Inputs]
    experts: Mapping[int, ExpertFeatures]
    terms: Sequence[TaskTerms]
    rotations: Sequence[TaskRotation | None]
    objective: Objective
    dtype: torch.dtype
    checkpointing: bool = False
    processes: Processes = field(default_factory=Alone)


def unique(rotations: Sequence[TaskRotation | None]) -> Iterator[tuple[int, TaskRotation]]:
    """Each rotation once, with the first task that it belongs to: language models share one."""
    seen: set[int] = set()
    for index, rotation in enumerate(rotations):
        if rotation is not None and id(rotation) not in seen:
            seen.add(id(rotation))
            yield index, rotation


@contextmanager
def scene_precision(scene: Scene) -> Iterator[None]:
    """The arithmetic of forward passes: float32 throughout, or matrix products in bfloat16."""
    device = scene.merged.encoder.device.type
    with torch.autocast(device, torch.bfloat16, enabled=scene.dtype == torch.bfloat16):
        yield


@contextmanager
def rotations_at(
    rotations: Sequence[TaskRotation | None], turns: Mapping[int, Tensor]
) -> Iterator[Sequence[TaskRotation | None]]:
    """Rotations with the given matrices instead of their own coordinates; copies, so that threads share no state."""
    first_task = {id(rotation): index for index, rotation in unique(rotations)}
    copies: dict[int, TaskRotation] = {}
    with ExitStack() as stack:
        for index, rotation in unique(rotations):
            copies[index] = copy.copy(rotation)
            stack.enter_context(copies[index].held(turns[index]))
        yield [None if rotation is None else copies[first_task[id(rotation)]] for rotation in rotations]
