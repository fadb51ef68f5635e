"""MDA, Algorithm 1: the shared task vector projected on a simplex ETF."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import torch
from mergeometry.linalg.etf import centre_rows, remove_direction, shared_direction_gram, task_gram
from mergeometry.linalg.streams import random_unit, stream_key
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.methods.base import Directional, Method, Rank, parameters
from mergeometry.values import Directions, LowRank


@parameters
class MDA(Directional):
    """Align the tasks' shared directions with a simplex equiangular tight frame.

    Law: ``tau = M M^T U diag(S_1, ..., S_T) V^T``, with ``M = sqrt(K/(K-1)) P (I - 11^T/K)`` and
    ``U``, ``V`` the shared subspace of `tsv_m`. The paper leaves the frame open; ``simplex`` chooses:
    ``directions`` has ``P = U``, a vertex for each shared direction (so the sign rule matters); ``tasks`` a
    vertex for each task, which removes what tasks have in common, all of it where they are equal;
    ``neurons`` has ``P = I``, a vertex for each output unit; ``random`` a random basis of the outputs in its place,
    drawn from the recipe's seed: the control for whether the frame matters; ``none`` skips the step, which gives
    `tsv_m`.
    """

    source: ClassVar[str] = "Model merging via directional alignment (MDA), arXiv 2512.00391, section 4.1, Algorithm 1"

    rank: Rank = "auto"
    simplex: Annotated[
        Literal["directions", "tasks", "neurons", "random", "none"],
        Field(description="what the vertices of the frame stand for"),
    ] = "directions"

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Method:
        """The method with the random basis of one tensor, where it has one."""
        if self.simplex != "random":
            return self
        bound: Method = copy.copy(self)
        # Not a field: a recipe cannot set it.
        object.__setattr__(bound, "_key", stream_key(seed, tensor, "simplex"))
        return bound

    @property
    def equal_models(self) -> Literal["same", "zero"] | None:
        """Equal tasks have no direction of their own, so a vertex for each task removes them entirely."""
        laws: dict[str, Literal["same", "zero"]] = {"neurons": "same", "none": "same", "tasks": "zero"}
        return laws.get(self.simplex)

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse frames with fewer than two vertices."""
        super().check(tasks, shape, weights)
        vertices = {"tasks": tasks, "neurons": shape[0], "random": shape[0]}.get(self.simplex, 2)
        if vertices < 2:
            stood_for = "tasks" if self.simplex == "tasks" else "neurons"
            raise ValueError(f"simplex: {self.simplex} needs at least two {stood_for}, got {vertices}")

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Build the shared task vector and apply the frame's Gram operator from the left."""
        shared = shared_subspace(directions)
        values = torch.diag(shared.values)
        if self.simplex == "neurons":
            return LowRank(centre_rows(shared.left), values, shared.right)
        if self.simplex == "random":
            key = getattr(self, "_key", stream_key(0, "", "simplex"))
            unit = random_unit(shared.left.shape[0], key).to(shared.left)
            return LowRank(remove_direction(shared.left, unit), values, shared.right)
        if self.simplex == "tasks" and shared.rank:
            return LowRank(shared.left, task_gram(list(shared.counts), values.device) @ values, shared.right)
        if self.simplex == "directions" and shared.rank > 1:
            return LowRank(shared.left, shared_direction_gram(shared.rank, values.device) @ values, shared.right)
        return LowRank(shared.left, values, shared.right)
