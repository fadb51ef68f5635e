"""Simplex frames and their Gram matrices against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.linalg.etf import centre_rows, shared_direction_gram, simplex_etf, task_gram
from tests.helpers.matrices import MODEST, draw, orthonormal, relative, seeds, sides


@MODEST
@given(seeds, st.integers(2, 12), st.integers(0, 10))
def test_simplex_etf(seed: int, k: int, more: int) -> None:
    basis = orthonormal(seed, k + more, k)
    frame = simplex_etf(basis)
    cosines = frame.mT @ frame
    expected = torch.full((k, k), -1 / (k - 1), dtype=torch.float64).fill_diagonal_(1.0)
    assert relative(cosines, expected) < 1e-13
    assert float(frame.sum(dim=1).norm()) < 1e-13
    assert relative(basis @ shared_direction_gram(k) @ basis.mT, frame @ frame.mT) < 1e-13


@MODEST
@given(seeds, st.integers(2, 6), st.integers(1, 5))
def test_task_gram(seed: int, tasks: int, k: int) -> None:
    centring = np.kron(np.eye(tasks) - np.ones((tasks, tasks)) / tasks, np.eye(k))
    assert relative(task_gram([k] * tasks), torch.from_numpy(tasks / (tasks - 1) * centring)) < 1e-15
    counts = [int(value) for value in np.random.default_rng(seed).integers(0, k + 1, tasks)]
    padded = task_gram([k] * tasks)
    there = torch.cat([torch.arange(k) < count for count in counts])
    assert torch.equal(task_gram(counts), padded[there][:, there])


@MODEST
@given(seeds, st.integers(2, 20), sides)
def test_centre_rows(seed: int, m: int, n: int) -> None:
    matrix = draw(seed, m, n)
    frame = simplex_etf(torch.eye(m, dtype=torch.float64))
    assert relative(centre_rows(matrix), frame @ frame.mT @ matrix) < 1e-12


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: simplex_etf(torch.ones(3, 1)),
        lambda: shared_direction_gram(1),
        lambda: task_gram([4]),
        lambda: centre_rows(torch.ones(1, 3)),
    ],
)
def test_one_vertex_is_no_simplex(attempt: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="at least two vertices, got 1"):
        attempt()
