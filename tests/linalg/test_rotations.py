"""The closest rotation, and coordinates of rotations, against slow ascent, the formula of ``M + eps I`` and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeometry.errors import NumericalError
from mergeometry.learning.prototypes import head_prototypes
from mergeometry.linalg.rotations import closest_rotation, closest_rotation_of_factors, rotation_at, span_basis
from tests.helpers.matrices import draw
from tests.helpers.rotations import any_rotation, coordinates_of, eye, is_rotation

MODEST = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def by_formula(matrix: torch.Tensor) -> torch.Tensor:
    """``A diag(1, .., 1, det(A B^T)) B^T`` as it is written; unique answers of well-conditioned matrices only."""
    left, values, right = np.linalg.svd(matrix.numpy())
    signs = np.ones(len(values))
    signs[-1] = np.sign(np.linalg.det(left @ right))
    return torch.from_numpy(left * signs @ right)


def by_ascent(matrix: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Steepest ascent of ``<R, M>`` along geodesics of SO(d), steps halved until they gain; nothing is decomposed."""
    rotation, step, target = start.numpy().copy(), 1.0, matrix.numpy()
    for _ in range(3000):
        gradient = rotation.T @ target
        gradient = gradient - gradient.T
        if np.abs(gradient).max() < 1e-12:
            break
        value = (rotation * target).sum()
        while step > 1e-12:
            moved = rotation @ scipy.linalg.expm(step * gradient)
            if (moved * target).sum() > value:
                rotation, step = moved, 1.5 * step
                break
            step /= 2
        else:
            break
    return torch.from_numpy(rotation)


def embedded(block: torch.Tensor, size: int) -> torch.Tensor:
    whole = torch.zeros(size, size, dtype=torch.float64)
    whole[: block.shape[0], : block.shape[1]] = block
    return whole


def shifted(values: list[float], size: int) -> torch.Tensor:
    """Carries axis ``k`` with weight ``values[k]`` onto an axis at a right angle to all that is touched."""
    whole = torch.zeros(size, size, dtype=torch.float64)
    for number, value in enumerate(values):
        whole[number, len(values) + number] = value
    return whole


MATRICES: dict[str, Callable[[], torch.Tensor]] = {
    "one dimension": lambda: torch.tensor([[2.0]], dtype=torch.float64),
    "one dimension, reversed": lambda: torch.tensor([[-2.0]], dtype=torch.float64),
    "two dimensions": lambda: draw(1, 2, 2),
    "full rank": lambda: draw(2, 7, 7),
    "full rank, a reflection": lambda: draw(2, 7, 7) * torch.tensor([-1.0] + [1.0] * 6),
    "rank one": lambda: draw(3, 6, 1) @ draw(4, 1, 6),
    "rank three of eight": lambda: draw(5, 8, 3) @ draw(6, 3, 8),
    "rank three of four": lambda: draw(7, 4, 3) @ draw(8, 3, 4),
    "rank three of four, the other side": lambda: draw(7, 4, 3) @ draw(9, 3, 4),
    "prototypes and class means": lambda: head_prototypes(draw(10, 4, 9)).vectors @ draw(11, 4, 9),
    "zero": lambda: torch.zeros(5, 5, dtype=torch.float64),
    "a rotation": lambda: any_rotation(12, 6),
    "the identity": lambda: eye(4),
    "a reflection with ties": lambda: torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)),
    "a turned reflection with ties": lambda: any_rotation(13, 5) @ torch.diag(draw(14, 5).sign()) * 3,
    "repeated values": lambda: any_rotation(15, 6) @ torch.diag(draw(16, 6).abs().round() + 1) @ any_rotation(17, 6),
    "right angles": lambda: shifted([3.0, 2.0, 1.0], 6),
    "right angles and more room": lambda: shifted([3.0, 2.0], 7),
    "right angles, turned": lambda: any_rotation(20, 7) @ shifted([3.0, 2.0], 7) @ any_rotation(20, 7).mT,
    "one right angle": lambda: shifted([1.0], 2),
    "one right angle, reversed": lambda: shifted([-1.0], 3),
    "huge": lambda: 1e150 * draw(18, 5, 2) @ draw(19, 2, 5),
    "tiny": lambda: 1e-150 * draw(18, 5, 2) @ draw(19, 2, 5),
}


@pytest.mark.parametrize("name", MATRICES)
def test_closest_rotation_is_the_limit_of_the_formula(name: str) -> None:
    matrix = MATRICES[name]()
    scale = float(matrix.abs().max()) or 1.0
    found = closest_rotation(matrix)
    assert is_rotation(found)
    errors = []
    for eps in (1e-3, 1e-5):
        shifted_matrix = matrix / scale + eps * eye(matrix.shape[0])
        errors.append(float((found - by_formula(shifted_matrix)).norm()))
    print(f"{name}: {errors}")
    assert errors[1] < 1e-3
    assert errors[1] < 0.05 * errors[0] + 1e-9  # of first order in eps


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_closest_rotation_against_ascent_on_the_group(size: int, sign: int) -> None:
    matrix = draw(size, size, size)
    if float(torch.linalg.det(matrix)) * sign < 0:
        matrix[0] *= -1
    found = closest_rotation(matrix)
    climbed = [by_ascent(matrix, any_rotation(seed, size)) for seed in range(4)]
    values = [float((rotation * matrix).sum()) for rotation in climbed]
    best = climbed[int(np.argmax(values))]
    assert max(values) == pytest.approx(float((found * matrix).sum()), rel=1e-10)
    torch.testing.assert_close(found, best, atol=1e-5, rtol=0)


@MODEST
@given(seeds, st.integers(1, 9), st.integers(0, 9))
def test_no_rotation_is_closer_and_none_as_close_is_nearer_to_the_identity(seed: int, size: int, rank: int) -> None:
    matrix = draw(seed, size, rank) @ draw(seed + 1, rank, size)
    found = closest_rotation(matrix)
    assert is_rotation(found)
    value = float((found * matrix).sum())
    for other in range(5):
        rotation = any_rotation(seed + other, size)
        assert float((rotation * matrix).sum()) <= value + 1e-9 * (1 + abs(value))
    # All as close as that: found @ W, W a rotation that leaves the row space of M alone.
    null = torch.from_numpy(scipy.linalg.null_space(matrix.numpy(), rcond=1e-9)) if size else matrix
    for other in range(5 if null.shape[1] > 1 else 0):
        turn = any_rotation(seed + other, null.shape[1])
        alike = found @ (eye(size) + null @ (turn - eye(null.shape[1])) @ null.mT)
        assert float((alike * matrix).sum()) == pytest.approx(value, rel=1e-8, abs=1e-8)
        assert float(alike.trace()) <= float(found.trace()) + 1e-8


def test_a_reflection_is_mended_outside_where_there_is_room() -> None:
    matrix = embedded(torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)), 5)
    found = closest_rotation(matrix)
    assert is_rotation(found)
    assert float((found * matrix).sum()) == pytest.approx(6.0)  # nothing given up
    assert float(found.trace()) == pytest.approx(5 - 4)  # two axes reversed, no more


def test_values_below_the_tolerance_have_no_direction() -> None:
    matrix = draw(0, 8, 3) @ draw(1, 3, 8)
    noisy = matrix + 1e-8 * draw(2, 8, 8)
    torch.testing.assert_close(closest_rotation(noisy), closest_rotation(matrix), atol=1e-6, rtol=0)
    torch.testing.assert_close(closest_rotation(matrix.float()), closest_rotation(matrix), atol=1e-5, rtol=0)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(NumericalError):
        closest_rotation(torch.full((3, 3), float("nan")))


@pytest.mark.parametrize(("size", "count"), [(12, 1), (12, 2), (12, 5), (12, 9), (3, 2), (2, 2), (1, 1), (4, 7)])
def test_of_factors_is_the_same_rotation(size: int, count: int) -> None:
    for seed in range(4):
        left, right = draw(seed, size, count), draw(seed + 50, size, count)
        whole = closest_rotation(left @ right.mT)
        torch.testing.assert_close(closest_rotation_of_factors(left, right), whole, atol=1e-8, rtol=0)


def test_of_factors_reverses_a_direction_outside_where_one_has_to_be() -> None:
    left = draw(0, 9, 3)
    right = left.clone()
    right[:, 0] *= -1
    found = closest_rotation_of_factors(left, right)
    whole = closest_rotation(left @ right.mT)
    assert is_rotation(found)
    assert float((found * (left @ right.mT)).sum()) == pytest.approx(float((whole * (left @ right.mT)).sum()))
    assert float(found.trace()) == pytest.approx(float(whole.trace()))


def test_span_basis() -> None:
    vectors = draw(0, 10, 3) @ draw(1, 3, 7)
    basis = span_basis(vectors.float())
    assert basis.shape == (10, 3)
    assert basis.dtype == torch.float64
    torch.testing.assert_close(basis.mT @ basis, eye(3))
    torch.testing.assert_close(basis @ basis.mT @ vectors, vectors, atol=1e-5, rtol=0)
    assert span_basis(torch.zeros(4, 2)).shape == (4, 0)
    assert span_basis(torch.zeros(4, 0)).shape == (4, 0)
    assert span_basis(draw(2, 3, 8)).shape == (3, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 11])
def test_every_rotation_has_coordinates(size: int) -> None:
    for seed in range(5):
        rotation = any_rotation(seed, size)
        root = np.real(scipy.linalg.sqrtm(rotation.numpy()))
        torch.testing.assert_close(rotation_at(coordinates_of(rotation, root), size), rotation, atol=1e-9, rtol=0)


def test_half_a_turn_is_reached() -> None:
    half = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(rotation_at(coordinates_of(half, quarter), 3), half, atol=1e-12, rtol=0)


def test_small_coordinates_are_an_exponential() -> None:
    coordinates = 1e-3 * draw(0, 15)
    upper = np.zeros((6, 6))
    upper[np.triu_indices(6, 1)] = coordinates
    expected = torch.from_numpy(scipy.linalg.expm(upper - upper.T))
    assert (rotation_at(coordinates, 6) - expected).norm() < (6e-3) ** 3
    assert torch.equal(rotation_at(torch.zeros(15), 6), eye(6))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_coordinates_of_any_size_are_a_rotation(scale: float) -> None:
    rotation = rotation_at((scale * draw(0, 190)).float(), 20)
    assert is_rotation(rotation, 1e-9)
    assert is_rotation(rotation.float(), 1e-6)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_gradient_of_coordinates(size: int) -> None:
    coordinates = draw(size, size * (size - 1) // 2).requires_grad_(True)
    weights = draw(9, size, size)
    if size == 1:
        assert torch.equal(rotation_at(coordinates, 1), eye(1))
        return
    assert torch.autograd.gradcheck(lambda given: (rotation_at(given, size) * weights).sum(), (coordinates,))
    assert torch.autograd.gradgradcheck(lambda given: (rotation_at(given, size) * weights).sum(), (coordinates,))
