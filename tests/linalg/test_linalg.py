"""Linear algebra against full float64 SVDs, on the matrices that break careless arithmetic. -s prints the errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeometry.errors import NumericalError
from mergeometry.linalg import svd
from mergeometry.linalg.etf import centre_rows, shared_direction_gram, simplex_etf, task_gram
from mergeometry.linalg.polar import polar, polar_of_factors
from mergeometry.linalg.selection import elected_mean, magnitude_threshold, share_of
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.linalg.svd import DecompositionFallbackWarning, fix_signs, symmetric_eigen, thin_svd, top_directions
from mergeometry.linalg.whitening import isotropic, remove_left
from mergeometry.values import Directions, LowRank, sum_of

MODEST = settings(max_examples=25, deadline=None, derandomize=True)
sides = st.integers(1, 24)
seeds = st.integers(0, 10_000)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal(seed: int, m: int, k: int) -> torch.Tensor:
    return torch.linalg.qr(draw(seed, m, k))[0]


def with_values(seed: int, m: int, n: int, values: list[float]) -> torch.Tensor:
    k = len(values)
    return orthonormal(seed, m, k) * torch.tensor(values, dtype=torch.float64) @ orthonormal(seed + 1, n, k).mT


def low_rank(seed: int, m: int, n: int, r: int) -> LowRank:
    return LowRank(draw(seed, m, r), draw(seed + 1, r, r), draw(seed + 2, n, r))


def full_svd(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    left, values, right = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    return torch.from_numpy(left), torch.from_numpy(values), torch.from_numpy(right).mT


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm()) / (float(expected.double().norm()) or 1.0)


def orthonormality(matrix: torch.Tensor) -> float:
    error = matrix.mT @ matrix - torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return float(error.abs().max()) if error.numel() else 0.0


MATRICES: dict[str, Callable[[], torch.Tensor]] = {
    "random tall": lambda: draw(0, 40, 24),
    "random wide": lambda: draw(1, 24, 40),
    "random square": lambda: draw(2, 32, 32),
    "power law": lambda: with_values(3, 48, 32, [1 / k for k in range(1, 33)]),
    "steep": lambda: with_values(4, 48, 32, [10 ** (-k / 6) for k in range(32)]),
    "rank deficient": lambda: draw(5, 40, 3) @ draw(6, 3, 24),
    "repeated values": lambda: with_values(7, 40, 24, [2.0] * 6 + [1.0] * 6),
    "orthogonal": lambda: orthonormal(8, 32, 32),
    "zero": lambda: torch.zeros(12, 8, dtype=torch.float64),
    "one row": lambda: draw(9, 1, 20),
    "one column": lambda: draw(10, 20, 1),
    "one entry": lambda: torch.full((1, 1), -2.0, dtype=torch.float64),
    "no rows": lambda: torch.zeros(0, 5, dtype=torch.float64),
    "huge": lambda: 1e20 * draw(11, 20, 12).float(),
    "tiny": lambda: 1e-20 * draw(12, 20, 12).float(),
    "float32": lambda: draw(13, 30, 20).float(),
}


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_what_is_not_finite_is_refused(shape: tuple[int, int], value: float) -> None:
    matrix = draw(0, *shape)
    matrix[2, 3] = value
    thin = LowRank(matrix, torch.eye(shape[1], dtype=torch.float64), orthonormal(0, 7, shape[1])[:, : shape[1]])
    for attempt in (lambda: top_directions(matrix, 2), lambda: thin_svd(matrix), lambda: top_directions(thin, 2)):
        with pytest.raises(NumericalError, match="NaN or Inf"):
            attempt()


# --------------------------------------------------------------------------------------------------- fallbacks


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


# ------------------------------------------------------------------------------------------------------- polar


@pytest.mark.parametrize("name", MATRICES)
def test_polar(name: str) -> None:
    matrix = MATRICES[name]()
    left, values, right = full_svd(matrix)
    alive = (
        values > 1e-7 * values[0] if values.numel() and values[0] > 0 else torch.zeros(len(values), dtype=torch.bool)
    )
    factor, got = polar(matrix)
    assert got.shape[0] == int(alive.sum())
    assert relative(got, values[alive]) < 1e-8
    assert relative(factor, left[:, alive] @ right[:, alive].mT) < 1e-5


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1.5e-5, 1e-5, 1e-6])
def test_polar_of_an_ill_conditioned_basis(smallest: float) -> None:
    orthonormal_by, distance = 0.0, 0.0
    for seed in range(3):
        basis = nearly_dependent(seed, 96, 48, smallest)
        factor, values = polar(basis)
        left, expected, right = full_svd(basis)
        assert float(expected[-1]) == pytest.approx(smallest, rel=0.05)
        assert relative(values, expected) < 1e-8
        orthonormal_by = max(orthonormal_by, orthonormality(factor))
        distance = max(distance, relative(factor, left @ right.mT))
    print(f"\npolar, smallest singular value {smallest:.1e}: orthonormal to {orthonormal_by:.1e}, SVD {distance:.1e}")
    assert orthonormal_by < 5e-6
    assert distance < 1e-6


@pytest.mark.parametrize("smallest", [1e-8, 1e-9])
def test_polar_leaves_out_a_direction_that_is_not_there(smallest: float) -> None:
    basis = nearly_dependent(0, 96, 48, smallest)
    factor, values = polar(basis)
    left, _, right = full_svd(basis)
    assert len(values) == 95
    assert relative(factor, left[:, :95] @ right[:, :95].mT) < 1e-9


def nearly_dependent(seed: int, m: int, k: int, smallest: float) -> torch.Tensor:
    """A square [U_1 | U_2] of two orthonormal blocks, one direction of the second close to the first's span."""
    first, second = orthonormal(seed, m, k), orthonormal(seed + 100, m, k)
    # Two unit vectors at a small angle have the singular value sqrt(1 - cos), which is angle / sqrt(2).
    angle = smallest * 2**0.5
    rest = second - first @ (first.mT @ second)
    outside = torch.linalg.qr(rest)[0]
    twin = np.cos(angle) * first[:, :1] + np.sin(angle) * outside[:, :1]
    return torch.cat([first, twin, outside[:, 1:]], dim=1)


@MODEST
@given(seeds, sides, sides, st.integers(1, 5))
def test_polar_of_factors_is_that_of_their_product(seed: int, m: int, n: int, r: int) -> None:
    delta = low_rank(seed, m, n, r)
    thin, values = polar_of_factors(delta)
    factor, expected = polar(delta.dense(torch.float64))
    if len(values) == len(expected):
        assert relative(values, expected) < 1e-8
        assert relative(thin.dense(torch.float64), factor) < 1e-6


def test_isotropic_leaves_zero_directions_out_of_the_mean() -> None:
    matrix = with_values(0, 20, 12, [3.0, 2.0, 1.0])
    values = torch.linalg.svdvals(isotropic(matrix))  # type: ignore[arg-type]
    assert values[:3] == pytest.approx(np.full(3, 2.0))
    assert float(values[3]) < 1e-12


def test_remove_left() -> None:
    basis, delta = orthonormal(0, 20, 4), low_rank(1, 20, 12, 3)
    expected = delta.dense(torch.float64) - basis @ basis.mT @ delta.dense(torch.float64)
    thin, dense = remove_left(delta, basis), remove_left(delta.dense(torch.float64), basis)
    assert isinstance(thin, LowRank)
    assert relative(thin.dense(torch.float64), expected) < 1e-13
    assert relative(dense, expected) < 1e-13  # type: ignore[arg-type]


def test_shared_subspace_of_equal_tasks_is_a_partial_isometry() -> None:
    task = top_directions(draw(0, 20, 12), 4)
    shared = shared_subspace([task, task, task])
    assert shared.counts == (4, 4, 4)
    assert relative(shared.left, torch.cat([task.left] * 3, dim=1) / 3**0.5) < 1e-10
    assert torch.equal(shared.same_task(), torch.block_diag(*[torch.ones(4, 4)] * 3).bool())


# --------------------------------------------------------------------------------------------------- frames


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


# ------------------------------------------------------------------------------------------------ selection


@MODEST
@given(seeds, st.integers(1, 200), st.integers(1, 220))
def test_threshold_is_the_sorted_entry(seed: int, size: int, count: int) -> None:
    values = draw(seed, size).float()
    before = values.clone()
    threshold = magnitude_threshold(values, count)
    expected = 0.0 if count >= size else float(values.abs().sort(descending=True).values[count - 1])
    assert threshold == expected
    assert torch.equal(values, before)
    kept = elected_mean([values], count, [1.0])
    assert int((kept != 0).sum()) == min(count, size)
    assert torch.equal(kept[kept != 0], values[kept != 0])


def test_ties_at_the_threshold_all_stay() -> None:
    values = torch.tensor([3.0, -2.0, 2.0, 2.0, 1.0])
    assert elected_mean([values], 2, [1.0]).tolist() == [3.0, -2.0, 2.0, 2.0, 0.0]
    nearly = torch.tensor([1.0, 1.0 - 1e-12, 0.5], dtype=torch.float64)
    assert int((elected_mean([nearly], 1, [1.0]) != 0).sum()) == 1
    assert int((elected_mean([nearly], 1, [1.0], rounding=1e-9) != 0).sum()) == 2


def test_election_by_hand() -> None:
    tasks = [torch.tensor([4.0, -1.0, 1.0, 0.0]), torch.tensor([-1.0, -3.0, -1.0, 0.0]), torch.tensor([2.0, 2.0, 0, 0])]
    assert elected_mean(tasks, 4, [1.0] * 3).tolist() == [3.0, -2.0, 0.0, 0.0]
    assert elected_mean(tasks, 4, [1.0, 1.0, 3.0]).tolist() == [2.5, 2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("size", "share", "count"), [(100, 0.29, 29), (10, 0.7, 7), (3, 0.2, 1), (1, 1.0, 1), (7, 0.5, 3)]
)
def test_share_of(size: int, share: float, count: int) -> None:
    assert share_of(size, share) == count


@pytest.mark.parametrize("shape", [(), (1,), (3, 2, 2), (0,), (70_000,)])
def test_election_keeps_any_shape(shape: tuple[int, ...]) -> None:
    values = draw(0, *shape)
    assert elected_mean([values, values], max(1, values.numel()), [1.0, 2.0]).shape == values.shape


def test_no_warning_on_ordinary_matrices() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in MATRICES.values():
            top_directions(make(), 4)
            polar(make())
