"""Predictions of the experts as sure as the merge's own, so that few inputs are not spent on sureness.

A merge keeps a part of every task's update, and its logits are a third to a half as large as the expert's. That changes
no prediction, yet it is most of what separates the two, and larger logits are what learning then brings about first. Of
a handful of inputs nothing is left for the rest: means move, and with them the predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.batches import Chosen
from mergeometry.encoders.heads import Head
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.forward_backward import Passes
from mergeometry.learning.losses import centred
from mergeometry.learning.scene import Scene

_LEAST = 0.05
"""The smallest strength: a merge that has nothing of an expert is still to learn its predictions."""


def strengths(scene: Scene, table: CoefficientTable, rows: Sequence[Sequence[int]]) -> dict[int, float]:
    """The size of the merge's logits as a share of each expert's, by least squares on these rows of every task."""
    passes, found = Passes(scene, 1), {}
    for task, own in enumerate(rows):
        head, teacher = scene.terms[task].head, scene.terms[task].teacher
        assert head is not None and teacher is not None
        features = torch.cat(passes.features([Chosen(task, row) for row in own], table)).float()
        expert = torch.cat([scene.experts[task].of(row) for row in own]).to(features)
        found[task] = strength(head.logits(features), teacher.logits(expert))
    passes.close()
    return found


def strength(merged: Float[Tensor, "rows c"], expert: Float[Tensor, "rows c"]) -> float:
    """The factor that brings the expert's logits closest to the merge's, each row less its mean; 1 at most."""
    ours, theirs = centred(merged).double(), centred(expert).double()
    energy = float(theirs.square().sum())
    share = float((ours * theirs).sum()) / energy if energy else 1.0
    return min(1.0, max(_LEAST, share))


def at_strength(scene: Scene, shares: Mapping[int, float]) -> Scene:
    """The scene with the experts' logits at these shares of their size, and features compared through heads alone."""
    terms = []
    for task, own in enumerate(scene.terms):
        teacher = own.teacher
        assert teacher is not None
        terms.append(replace(own, teacher=Head(teacher.weight * shares[task], teacher.bias * shares[task])))
    weights = replace(scene.objective.weights, hidden=0.0)
    return replace(scene, terms=terms, objective=replace(scene.objective, weights=weights))
