"""Readings of MDA's simplex step that its paper leaves open, each beside the same merge without it."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.etf import shared_direction_gram, task_gram
from mergeometry.methods.base import Directional, Method, Rank, parameters
from mergeometry.methods.own_blocks import OwnBlocks
from mergeometry.methods.tsv_m import TSVM
from mergeometry.values import Directions, LowRank


@parameters
class SimplexVariant(Directional):
    """A simplex step between the core of a merge in the tasks' shared basis and the basis.

    Law: ``tau = U M C V^T``, or ``U M C M V^T`` on both sides, ``U``, ``V`` the shared subspace of `tsv_m`, ``C`` the
    core and ``M`` the Gram operator of a simplex, or the identity in layers without one.
    """

    source: ClassVar[str] = "variants of MDA (arXiv 2512.00391), section 4.1"
    others: ClassVar[str] = "rows"

    simplex: Annotated[
        Literal["none", "directions", "tasks", "leading"],
        Field(description="a vertex for each direction, each task, or each task's first direction alone"),
    ] = "none"
    sides: Annotated[Literal["left", "both"], Field(description="where the step is taken")] = "left"
    spectrum: Annotated[
        Literal["own", "flat"], Field(description="the tasks' singular values, or their mean for all of them")
    ] = "own"
    core: Annotated[
        Literal["values", "own blocks"],
        Field(description="the spectrum as it is, as in TSV-M, or each task's block of the basis, as in own_blocks"),
    ] = "values"
    last: Annotated[int | None, Field(ge=1, description="only the last so many layers take the step")] = None
    layers: Annotated[int, Field(ge=1, description="how many layers there are")] = 6
    rank: Rank = "auto"

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Method:
        """The method with the step, or without it in the layers that have none."""
        found = re.search(r"\.layer\.(\d+)\.", f".{tensor}")
        if self.last is None or found is None or int(found[1]) >= self.layers - self.last:
            return self
        bound: Method = copy.copy(self)
        object.__setattr__(bound, "simplex", "none")
        return bound

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Merge without the step, and apply the frame's Gram operator to the core."""
        if self.spectrum == "flat":
            directions = _flat(directions)
        plain = (TSVM() if self.core == "values" else OwnBlocks()).merge(directions)
        counts = [task.count for task in directions]
        # One task alone is no simplex.
        if self.simplex == "none" or sum(map(bool, counts)) < 2:
            return plain
        gram = self._gram(counts)
        core = gram @ plain.core
        return LowRank(plain.left, core @ gram if self.sides == "both" else core, plain.right)

    def _gram(self, counts: Sequence[int]) -> Float[Tensor, "r r"]:
        if self.simplex == "tasks":
            return task_gram(list(counts))
        if self.simplex == "directions":
            return shared_direction_gram(sum(counts))
        first = torch.tensor([sum(counts[:task]) for task, count in enumerate(counts) if count])
        gram = torch.eye(sum(counts), dtype=torch.float64)
        gram[first[:, None], first[None, :]] = shared_direction_gram(len(first))
        return gram


def _flat(directions: Sequence[Directions]) -> list[Directions]:
    """The same directions, all of them with the mean of their singular values."""
    mean = torch.cat([task.values for task in directions]).mean()
    return [Directions(task.left, mean.expand_as(task.values), task.right) for task in directions]
