"""Rotations of any size, in float64, from SciPy."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import special_ortho_group


def eye(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def any_rotation(seed: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.atleast_2d(special_ortho_group.rvs(size, random_state=seed)))


def is_rotation(matrix: torch.Tensor, error: float = 1e-12) -> bool:
    size = matrix.shape[0]
    return bool((matrix.mT @ matrix - eye(size).to(matrix)).abs().max() < error and torch.linalg.det(matrix) > 0)


def coordinates_of(rotation: torch.Tensor, root: np.ndarray) -> torch.Tensor:
    """Coordinates of the rotation of a known square root, by Cayley's formula solved for S."""
    size = rotation.shape[0]
    skew = 4 * np.linalg.solve((root + np.eye(size)).T, (root - np.eye(size)).T).T
    assert np.linalg.norm(skew, 2) <= 4 + 1e-9
    return torch.from_numpy(skew[np.triu_indices(size, 1)])
