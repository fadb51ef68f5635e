"""MDA, Algorithm 1: the shared task vector projected on a simplex ETF."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Tensor, torch
from mergeometry.linalg.etf import centre_rows, remove_direction, shared_direction_gram, task_gram
from mergeometry.linalg.polar import polar
from mergeometry.linalg.streams import random_unit, stream_key
from mergeometry.linalg.subspace import principal_directions, shared_subspace, stack
from mergeometry.methods.base import Directional, Method, Rank, parameters
from mergeometry.products import product
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

    The paper leaves the subspace open too: its reviews speak of left vectors only. ``sides: left`` keeps the right
    vectors as they are, ``V = [V_1 | ... | V_T]``; ``subspace: svd`` the left ones as well, and its frame has the
    leading left singular vectors of ``[U_1 | ... | U_T]`` for ``P``.
    """

    source: ClassVar[str] = "Model merging via directional alignment (MDA), arXiv 2512.00391, section 4.1, Algorithm 1"

    rank: Rank = "auto"
    simplex: Annotated[
        Literal["directions", "tasks", "neurons", "random", "none"],
        Field(description="what the vertices of the frame stand for"),
    ] = "directions"
    sides: Annotated[
        Literal["both", "left"],
        Field(description="which sides' directions are decorrelated"),
    ] = "both"
    subspace: Annotated[
        Literal["polar", "svd"],
        Field(
            description="the nearest orthonormal directions, or all directions as they are (svd, which decorrelates "
            "neither side)"
        ),
    ] = "polar"

    def __post_init__(self) -> None:
        """Without a frame no reading depends on signs; at the defaults adapters are merged as they always were."""
        object.__setattr__(self, "turns", self.simplex == "none" and not self._as_tsv_m)

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Method:
        """The method with the random basis of one tensor, where it has one."""
        if self.simplex != "random":
            return self
        bound: Method = copy.copy(self)
        # Not a field: a recipe cannot set it.
        object.__setattr__(bound, "_key", stream_key(seed, tensor, "simplex"))
        return bound

    @property
    def equal_models(self) -> Literal["same", "sum", "zero"] | None:
        """Equal tasks have no direction of their own, so a vertex for each task removes them entirely.

        Decorrelated on one side alone, N of them merge to sqrt(N) times one; not at all, they add up.
        """
        if self.simplex == "tasks":
            return "zero"
        if self.subspace == "svd":
            return None if self.simplex == "random" else "sum"
        return "same" if self._as_tsv_m and self.simplex in ("neurons", "none") else None

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse frames with fewer than two vertices, and a vertex for each task of directions that belong to none."""
        super().check(tasks, shape, weights)
        if self.simplex == "tasks" and self.subspace == "svd":
            raise ValueError(
                "simplex: tasks needs directions that belong to a task, and singular vectors of all of them together "
                "belong to none; use subspace: polar"
            )
        vertices = {"tasks": tasks, "neurons": shape[0], "random": shape[0]}.get(self.simplex, 2)
        if vertices < 2:
            stood_for = "tasks" if self.simplex == "tasks" else "neurons"
            raise ValueError(f"simplex: {self.simplex} needs at least two {stood_for}, got {vertices}")

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Build the shared task vector and apply the frame's Gram operator from the left."""
        left, values, right = self._shared(directions)
        count = len(values)
        if self.simplex == "neurons":
            return LowRank(centre_rows(left), torch.diag(values), right)
        if self.simplex == "random":
            key = getattr(self, "_key", stream_key(0, "", "simplex"))
            unit = random_unit(left.shape[0], key).to(left)
            return LowRank(remove_direction(left, unit, left.shape[0]), torch.diag(values), right)
        if self.simplex == "directions" and self.subspace == "svd":
            vertices = principal_directions(stack(directions))
            if vertices.shape[1] > 1:
                unit = vertices.sum(dim=1) / vertices.shape[1] ** 0.5
                left = remove_direction(left, unit, vertices.shape[1])
            return LowRank(left, torch.diag(values), right)
        core = torch.diag(values)
        if self.simplex == "tasks" and count:
            core = product(task_gram([task.count for task in directions], values.device), core)
        if self.simplex == "directions" and count > 1:
            core = product(shared_direction_gram(count, values.device), core)
        return LowRank(left, core, right)

    @property
    def _as_tsv_m(self) -> bool:
        """Whether both sides are decorrelated, as in `tsv_m`."""
        return self.sides == "both" and self.subspace == "polar"

    def _shared(self, directions: Sequence[Directions]) -> tuple[Tensor, Tensor, Tensor]:
        """Left directions, singular values and right directions of the shared task vector, task by task."""
        if self._as_tsv_m:
            shared = shared_subspace(directions)
            return shared.left, shared.values, shared.right
        stacked = stack(directions)
        left = stacked.left if self.subspace == "svd" else polar(stacked.left)[0]
        return left, stacked.values, stacked.right
