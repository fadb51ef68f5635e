"""Task rotations: a learned R in SO(d) that rotates a task's features before its head, and folds into the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.errors import DataError
from mergeometry.linalg.rotations import closest_rotation, closest_rotation_of_factors, rotation_at


class TaskRotation(torch.nn.Module, ABC):
    """A rotation to learn, which starts as the identity; every value of its one parameter is a rotation.

    The parameter holds ``size (size - 1) / 2`` unconstrained coordinates of a rotation ``R'`` of ``size`` dimensions,
    computed in float64 (`rotation_at`); the subclasses differ in how R follows from ``R'``.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.coordinates = torch.nn.Parameter(torch.zeros(size * (size - 1) // 2))
        self._held: Tensor | None = None

    def turn(self) -> Float[Tensor, "q q"]:
        """The rotation ``R'`` that is learned, in float64."""
        return rotation_at(self.coordinates, self.size) if self._held is None else self._held

    @contextmanager
    def held(self, turn: Float[Tensor, "q q"] | None = None) -> Iterator[None]:
        """Compute ``R'`` once for all uses inside, or take the given one; for one pass, without a step in between."""
        self._held = self.turn() if turn is None else turn
        try:
            yield
        finally:
            self._held = None

    def distance(self, target: Float[Tensor, "q q"]) -> Float[Tensor, ""]:
        """``||R - R^P||_F^2`` for the ``R^P`` of `target`: both are the identity outside the learned dimensions."""
        return (self.turn() - target).square().sum().to(self.coordinates.dtype)

    @abstractmethod
    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``R z`` for features in rows."""

    @abstractmethod
    def back(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``R^T z`` for vectors in rows: the inverse of `forward`."""

    @abstractmethod
    def matrix(self) -> Float[Tensor, "d d"]:
        """The whole matrix R in the parameter's precision."""

    @abstractmethod
    def target(self, prototypes: Float[Tensor, "d c"], class_means: Float[Tensor, "d c"]) -> Float[Tensor, "q q"]:
        """``R^P``, the closest rotation to ``E Zbar^T`` of this form, detached and as `distance` takes it.

        Source: MDA (arXiv 2512.00391) section 4.2.

        Raises:
            NumericalError: a class mean is not finite.
        """

    @abstractmethod
    def outside(self, class_means: Float[Tensor, "d c"]) -> float:
        """Share of the class means' energy that this form cannot rotate."""


class SubspaceRotation(TaskRotation):
    """``R = I + Q (R' - I) Q^T``: rotates inside the span of the orthonormal columns Q, and leaves the rest unchanged.

    ``R^P`` moves only the span of prototypes and class means, so with that span as Q (`span_basis` of the two side
    by side) nothing is lost: the target, its distance and every loss are those of the full rotation. The span is
    fixed while class means move: `target` uses their projection, and `outside` measures what it misses.

    Raises:
        DataError: the columns are not orthonormal, or there are none.
    """

    basis: Tensor

    def __init__(self, basis: Float[Tensor, "d q"]) -> None:
        super().__init__(basis.shape[1])
        exact = basis.detach().to(torch.float64)
        if not exact.shape[1] or (exact.mT @ exact - torch.eye(exact.shape[1]).to(exact)).abs().max() > 1e-5:
            raise DataError("the basis of a rotation's subspace must have orthonormal columns")
        self.register_buffer("basis", exact)

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``z + Q (R' - I) Q^T z`` for features in rows; no d x d matrix is formed."""
        return self._moved(features, self.turn().mT)

    def back(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``z + Q (R' - I)^T Q^T z`` for vectors in rows."""
        return self._moved(vectors, self.turn())

    def matrix(self) -> Float[Tensor, "d d"]:
        """The whole matrix R in the parameter's precision."""
        basis = self.basis.to(torch.float64)
        identity = torch.eye(basis.shape[0], dtype=basis.dtype, device=basis.device)
        return (identity + basis @ self._change(self.turn()) @ basis.mT).to(self.coordinates.dtype)

    def target(self, prototypes: Float[Tensor, "d c"], class_means: Float[Tensor, "d c"]) -> Float[Tensor, "q q"]:
        """``R'^P``, the closest rotation to ``Q^T E (Q^T Zbar)^T``: the best one that acts only inside the span."""
        return closest_rotation(self._inside(prototypes) @ self._inside(class_means).mT)

    def outside(self, class_means: Float[Tensor, "d c"]) -> float:
        """Share of the class means' energy outside the span: 0 where the reduction is exact."""
        energy = class_means.detach().to(torch.float64).square().sum()
        if energy == 0:
            return 0.0
        return float((1 - self._inside(class_means).square().sum() / energy).clamp(min=0))

    def _moved(self, rows: Float[Tensor, "*b d"], turn: Float[Tensor, "q q"]) -> Float[Tensor, "*b d"]:
        basis = self.basis.to(rows.dtype)
        return rows + rows @ basis @ self._change(turn).to(rows.dtype) @ basis.mT

    def _change(self, turn: Float[Tensor, "q q"]) -> Float[Tensor, "q q"]:
        # Subtracted before rounding to the features' precision, so that the identity changes no bit.
        return turn - torch.eye(self.size, dtype=turn.dtype, device=turn.device)

    def _inside(self, vectors: Float[Tensor, "d c"]) -> Float[Tensor, "q c"]:
        return self.basis.to(torch.float64).mT @ vectors.detach().to(torch.float64)


class FullRotation(TaskRotation):
    """Any R in SO(d), with ``d (d - 1) / 2`` coordinates: the paper's form, and the control for the subspace form."""

    def __init__(self, d: int) -> None:
        super().__init__(d)

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``R z`` for features in rows."""
        return features @ self.turn().to(features.dtype).mT

    def back(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """``R^T z`` for vectors in rows."""
        return vectors @ self.turn().to(vectors.dtype)

    def matrix(self) -> Float[Tensor, "d d"]:
        """R in the parameter's precision."""
        return self.turn().to(self.coordinates.dtype)

    def target(self, prototypes: Float[Tensor, "d c"], class_means: Float[Tensor, "d c"]) -> Float[Tensor, "q q"]:
        """``R^P``, the closest rotation to ``E Zbar^T``, decomposed in the span of the two: it moves nothing else."""
        return closest_rotation_of_factors(prototypes, class_means)

    def outside(self, class_means: Float[Tensor, "d c"]) -> float:
        """Always 0: this form can rotate everything."""
        return 0.0


def fold_into(head_weight: Float[Tensor, "classes d"], rotation: TaskRotation) -> Float[Tensor, "classes d"]:
    """``h' = h R``: the head equal to `rotation` followed by the given head; detached, in the same dtype."""
    with torch.no_grad():
        return rotation.back(head_weight.to(torch.float64)).to(head_weight.dtype)
