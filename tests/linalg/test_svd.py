"""Decompositions against full float64 SVDs, on the matrices that break careless arithmetic. -s prints the errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.errors import NumericalError
from mergeometry.linalg import svd
from mergeometry.linalg.polar import polar
from mergeometry.linalg.svd import DecompositionFallbackWarning, fix_signs, symmetric_eigen, thin_svd, top_directions
from mergeometry.values import Directions, LowRank, sum_of
from tests.helpers.matrices import (
    MATRICES,
    MODEST,
    draw,
    full_svd,
    low_rank,
    orthonormal,
    orthonormality,
    relative,
    seeds,
    sides,
    with_values,
)


@pytest.mark.parametrize("name", MATRICES)
def test_top_directions_of_dense(name: str) -> None:
    matrix = MATRICES[name]()
    _, values, _ = full_svd(matrix)
    rank = int((values > svd.RANK_TOLERANCE * values[0]).sum()) if values.numel() and values[0] > 0 else 0
    for count in {1, max(1, rank // 2), rank, min(matrix.shape)}:
        got = top_directions(matrix, count)
        expected_count = min(count, rank)
        assert got.count == expected_count
        assert got.left.dtype == got.values.dtype == got.right.dtype == torch.float64
        if not got.count:
            continue
        assert relative(got.values, values[: got.count]) < 1e-9
        # Unique whatever the multiplicities: what the triplets capture, and that they are orthonormal triplets.
        residual = float((matrix.double() - got.low_rank().dense(torch.float64)).norm())
        assert residual == pytest.approx(float(values[got.count :].norm()), abs=1e-8 * float(values[0]))
        assert orthonormality(got.right) < 1e-10
        assert orthonormality(got.left) < 1e-5
        assert relative(matrix.double() @ got.right, got.left * got.values) < 1e-9


def test_top_directions_are_the_reference_s_where_they_are_unique() -> None:
    worst = 0.0
    for seed in range(5):
        for m, n in ((48, 32), (32, 48), (32, 32)):
            matrix = with_values(seed, m, n, [1 / k for k in range(1, 33)]) + 1e-3 * draw(seed + 50, m, n)
            expected = fix_signs(Directions(*(part[..., :12] for part in full_svd(matrix))))
            got = top_directions(matrix.float().double(), 12)
            exact = top_directions(matrix, 12)
            worst = max(worst, relative(exact.left, expected.left), relative(exact.right, expected.right))
            assert relative(got.left, expected.left) < 1e-4
    print(f"\ntop_directions: distance to the full SVD's directions {worst:.1e}")
    assert worst < 1e-10


@MODEST
@given(seeds, sides, sides, st.integers(1, 6), st.integers(1, 8))
def test_top_directions_of_factors_are_those_of_their_product(seed: int, m: int, n: int, r: int, count: int) -> None:
    delta = low_rank(seed, m, n, r)
    dense = delta.dense(torch.float64)
    thin, full = top_directions(delta, count), top_directions(dense, count)
    assert thin.count == full.count <= min(count, r, m, n)
    assert relative(thin.values, full.values) < 1e-7
    assert orthonormality(thin.left) < 1e-12
    assert orthonormality(thin.right) < 1e-12
    residual = float((dense - thin.low_rank().dense(torch.float64)).norm())
    rest = full_svd(dense)[1][thin.count :].norm()
    assert residual == pytest.approx(float(rest), abs=1e-6 * float(dense.norm()))


def test_factors_that_cancel_have_no_direction() -> None:
    delta = low_rank(0, 20, 12, 4)
    assert top_directions(sum_of([delta, delta.scaled(-1.0)]), 8).count == 0
    assert top_directions(LowRank.zero(5, 4), 3).count == 0
    assert top_directions(LowRank(torch.zeros(5, 2), torch.eye(2), torch.zeros(4, 2)), 3).count == 0


def test_factors_of_equal_columns_lose_only_what_is_double() -> None:
    delta = low_rank(3, 20, 12, 4)
    twice = sum_of([delta, delta])
    got = top_directions(twice, 8)
    assert got.count == 4
    assert relative(got.low_rank().dense(torch.float64), 2 * delta.dense(torch.float64)) < 1e-12


@MODEST
@given(seeds, sides, sides)
def test_signs_are_fixed_jointly(seed: int, m: int, n: int) -> None:
    k = min(m, n)
    before = Directions(orthonormal(seed, m, k), torch.arange(k, 0, -1).double(), orthonormal(seed + 1, n, k))
    after = fix_signs(before)
    peaks = after.left.gather(0, after.left.abs().argmax(dim=0, keepdim=True))
    assert bool((peaks > 0).all())
    assert relative(after.low_rank().dense(torch.float64), before.low_rank().dense(torch.float64)) < 1e-14
    flipped = Directions(-before.left, before.values, -before.right)
    assert torch.equal(fix_signs(flipped).left, after.left)


def test_a_weighted_task_vector_has_the_directions_of_the_weighed_one() -> None:
    matrix = draw(0, 12, 8)
    for weight in (2.0, -0.5):
        scaled, direct = top_directions(matrix, 5).scaled(weight), top_directions(matrix * weight, 5)
        assert relative(scaled.left, direct.left) < 1e-12
        assert relative(scaled.right, direct.right) < 1e-12
        assert relative(scaled.values, direct.values) < 1e-12
    assert top_directions(matrix, 5).scaled(0.0).count == 0


def test_no_directions_keep_the_sides_of_their_matrix() -> None:
    for shape in ((6, 4), (4, 6)):
        none = top_directions(draw(0, *shape), 0)
        assert (tuple(none.left.shape), tuple(none.right.shape)) == ((shape[0], 0), (shape[1], 0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_what_is_not_finite_is_refused(shape: tuple[int, int], value: float) -> None:
    matrix = draw(0, *shape)
    matrix[2, 3] = value
    thin = LowRank(matrix, torch.eye(shape[1], dtype=torch.float64), orthonormal(0, 7, shape[1])[:, : shape[1]])
    for attempt in (lambda: top_directions(matrix, 2), lambda: thin_svd(matrix), lambda: top_directions(thin, 2)):
        with pytest.raises(NumericalError, match="NaN or Inf"):
            attempt()


def failing(real: Callable[..., Any], drivers: set[str], keyword: str) -> Callable[..., Any]:
    def run(*args: Any, **given: Any) -> Any:
        if given[keyword] in drivers:
            raise np.linalg.LinAlgError("did not converge")
        return real(*args, **given)

    return run


def test_svd_falls_back_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = draw(0, 20, 12)
    expected = thin_svd(matrix)
    monkeypatch.setattr(scipy.linalg, "svd", failing(scipy.linalg.svd, {"gesdd"}, "lapack_driver"))
    with pytest.warns(DecompositionFallbackWarning, match="gesdd failed, gesvd used"):
        left, values, right = thin_svd(matrix)
    assert relative(values, expected[1]) < 1e-13
    assert relative(left * values @ right.mT, matrix) < 1e-13


def test_svd_that_fails_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scipy.linalg, "svd", failing(scipy.linalg.svd, {"gesdd", "gesvd"}, "lapack_driver"))
    with pytest.warns(DecompositionFallbackWarning), pytest.raises(NumericalError, match="20, 12"):
        thin_svd(draw(0, 20, 12))


@pytest.mark.parametrize("count", [5, 12])
def test_eigen_solver_falls_back_with_a_warning(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    matrix = draw(0, 20, 12)
    gram = svd.gram(matrix)
    expected = full_svd(matrix)[1][:count] ** 2
    monkeypatch.setattr(scipy.linalg, "eigh", failing(scipy.linalg.eigh, {"evr", "evd"}, "driver"))
    with pytest.warns(DecompositionFallbackWarning, match="ev used"):
        values, vectors = symmetric_eigen(gram, count)
    assert relative(values, expected) < 1e-12
    assert relative(vectors * values, matrix.mT @ (matrix @ vectors)) < 1e-12


def test_eigen_solver_that_fails_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scipy.linalg, "eigh", failing(scipy.linalg.eigh, {"evr", "evd", "ev"}, "driver"))
    with pytest.warns(DecompositionFallbackWarning), pytest.raises(NumericalError, match="12 x 12"):
        symmetric_eigen(svd.gram(draw(0, 20, 12)), 3)


@MODEST
@given(seeds, sides, sides)
def test_thin_svd_and_gram(seed: int, m: int, n: int) -> None:
    matrix = draw(seed, m, n)
    left, values, right = thin_svd(matrix)
    assert relative(left * values @ right.mT, matrix) < 1e-13
    assert relative(values, full_svd(matrix)[1]) < 1e-13
    assert relative(svd.gram(matrix), (matrix.mT @ matrix).triu()) < 1e-14


def test_no_warning_on_ordinary_matrices() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in MATRICES.values():
            top_directions(make(), 4)
            polar(make())
