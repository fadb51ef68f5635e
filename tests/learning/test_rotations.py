"""Rotations against slow float64 references: Riemannian ascent, the plain formula of ``M + eps I``, SciPy's roots."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from mergeometry.errors import DataError, NumericalError
from mergeometry.learning.losses import alignment, class_means
from mergeometry.learning.prototypes import head_prototypes
from mergeometry.learning.rotation import FullRotation, SubspaceRotation, TaskRotation, fold_into
from mergeometry.linalg.rotations import closest_rotation, closest_rotation_of_factors, rotation_at, span_basis

MODEST = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def eye(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def any_rotation(seed: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.atleast_2d(special_ortho_group.rvs(size, random_state=seed)))


def is_rotation(matrix: torch.Tensor, error: float = 1e-12) -> bool:
    size = matrix.shape[0]
    return bool((matrix.mT @ matrix - eye(size).to(matrix)).abs().max() < error and torch.linalg.det(matrix) > 0)


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


# ------------------------------------------------------------------------------------------------- coordinates


def coordinates_of(rotation: torch.Tensor, root: np.ndarray) -> torch.Tensor:
    """Coordinates of the rotation of a known square root, by Cayley's formula solved for S."""
    size = rotation.shape[0]
    skew = 4 * np.linalg.solve((root + np.eye(size)).T, (root - np.eye(size)).T).T
    assert np.linalg.norm(skew, 2) <= 4 + 1e-9
    return torch.from_numpy(skew[np.triu_indices(size, 1)])


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


# ---------------------------------------------------------------------------------------------------- modules


def task(d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prototypes of a head, class means of features, and the span of both."""
    prototypes = head_prototypes(draw(seed, classes, d)).vectors
    means = torch.nn.functional.normalize(draw(seed + 1, d, classes) + draw(seed + 2, d, 1), dim=0)
    return prototypes, means, span_basis(torch.cat([prototypes, means], dim=1))


def moved(rotation: TaskRotation, seed: int = 5, scale: float = 0.7) -> TaskRotation:
    with torch.no_grad():
        rotation.coordinates.copy_(scale * draw(seed, rotation.coordinates.numel()))
    return rotation


def forms(d: int = 10, classes: int = 3) -> dict[str, TaskRotation]:
    return {"subspace": SubspaceRotation(task(d, classes)[2]), "full": FullRotation(d)}


@pytest.mark.parametrize("form", ["subspace", "full"])
def test_a_rotation_turns_rows_and_folds_into_a_head(form: str) -> None:
    rotation = forms()[form]
    features, head = draw(1, 4, 6, 10).float(), draw(2, 3, 10).float()
    assert torch.equal(rotation(features), features)  # starts as the identity, to the bit
    moved(rotation)
    matrix = rotation.matrix()
    assert is_rotation(matrix, 1e-6)
    assert (matrix - torch.eye(10)).abs().max() > 0.1
    torch.testing.assert_close(rotation(features), features @ matrix.mT)
    torch.testing.assert_close(rotation.back(rotation(features)), features)
    folded = fold_into(head, rotation)
    assert folded.dtype == head.dtype
    assert not folded.requires_grad
    torch.testing.assert_close(features @ folded.mT, rotation(features) @ head.mT, atol=1e-5, rtol=1e-5)
    assert rotation(features.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("form", ["subspace", "full"])
def test_gradients_of_rotations(form: str) -> None:
    rotation = forms(6, 2)[form].double()
    target = rotation.target(*task(6, 2)[:2])
    features = draw(3, 4, 6).requires_grad_(True)
    weights, at = draw(4, 4, 6), moved(rotation).coordinates.detach().clone().requires_grad_(True)

    del rotation.coordinates  # a parameter; below it is what gradcheck gives

    def asked(coordinates: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rotation.coordinates = coordinates
        cubes = (rotation.matrix() ** 3).sum()
        return (rotation(rows) * weights).sum(), (rotation.back(rows) * weights).sum(), rotation.distance(target), cubes

    assert torch.autograd.gradcheck(asked, (at, features))


@pytest.mark.parametrize("form", ["subspace", "full"])
def test_stays_a_rotation_through_two_thousand_large_steps(form: str) -> None:
    d, classes = 16, 4
    prototypes, _, basis = task(d, classes)
    rotation: TaskRotation = SubspaceRotation(basis) if form == "subspace" else FullRotation(d)
    generator = torch.Generator().manual_seed(0)
    worst = travelled = 0.0
    for rate in (1.0, 0.3):
        optimiser = torch.optim.Adam(rotation.parameters(), lr=rate)
        for step in range(1000):
            features = torch.randn(8, d, generator=generator)
            predicted = torch.randint(classes, (8,), generator=generator)
            optimiser.zero_grad()
            loss = alignment(rotation(features), predicted, prototypes)
            if step % 20 == 0:  # so that it never comes to rest
                target = rotation.target(prototypes, torch.randn(d, classes, generator=generator))
            (loss + rotation.distance(target)).backward()
            optimiser.step()
            if step % 20 == 19:
                matrix = rotation.matrix().detach()
                assert matrix.dtype == torch.float32
                assert torch.linalg.det(matrix.double()) > 0
                worst = max(worst, float((matrix.mT @ matrix - torch.eye(d)).abs().max()))
                travelled = max(travelled, float(rotation.coordinates.detach().abs().max()))
    print(f"{form}: orthogonal to {worst:.1e}, coordinates up to {travelled:.1f}")
    assert travelled > 3
    assert worst < 1e-5


def test_any_basis_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="orthonormal"):
        SubspaceRotation(2 * eye(4)[:, :2])
    with pytest.raises(DataError, match="orthonormal"):
        SubspaceRotation(torch.zeros(4, 0))


def test_held_computes_once_and_lets_go() -> None:
    rotation = moved(FullRotation(5))
    with rotation.held():
        first = rotation.turn()
        assert rotation.turn() is first
        (rotation(draw(0, 2, 5)).sum() + rotation.distance(eye(5))).backward()
    held = rotation.coordinates.grad
    assert held is not None
    rotation.coordinates.grad = None
    (rotation(draw(0, 2, 5)).sum() + rotation.distance(eye(5))).backward()
    torch.testing.assert_close(rotation.coordinates.grad, held)
    assert rotation.turn() is not first


@pytest.mark.parametrize(("d", "classes"), [(24, 2), (24, 5), (9, 6), (6, 6), (5, 6), (3, 6), (2, 2)])
def test_the_subspace_is_exact(d: int, classes: int) -> None:
    """Target, distance, forward pass and losses of one R are the same in both forms, whatever 2C is to d."""
    prototypes, means, basis = task(d, classes, seed=classes)
    part, whole = moved(SubspaceRotation(basis)).double(), FullRotation(d).double()
    assert part.outside(means) == pytest.approx(0, abs=1e-12)
    in_part, in_whole = part.target(prototypes, means), whole.target(prototypes, means)
    lifted = eye(d) + basis @ (in_part - eye(basis.shape[1])) @ basis.mT
    torch.testing.assert_close(lifted, in_whole, atol=1e-8, rtol=0)
    torch.testing.assert_close(lifted, closest_rotation(prototypes @ means.mT), atol=1e-8, rtol=0)
    # The full form at the same R: its coordinates by SciPy's root.
    rotation = part.matrix().detach()
    root = np.real(scipy.linalg.sqrtm(rotation.numpy()))
    with torch.no_grad():
        whole.coordinates.copy_(coordinates_of(rotation, root))
    torch.testing.assert_close(whole.matrix(), rotation, atol=1e-9, rtol=0)
    features, predicted = draw(7, 20, d), torch.arange(20) % classes
    torch.testing.assert_close(part(features), whole(features), atol=1e-8, rtol=0)
    torch.testing.assert_close(part.distance(in_part), whole.distance(in_whole), atol=1e-8, rtol=0)
    losses = [alignment(form(features), predicted, prototypes) for form in (part, whole)]
    torch.testing.assert_close(losses[0], losses[1])


def test_both_forms_learn_the_same_minimiser() -> None:
    d, classes = 8, 2
    prototypes, means, basis = task(d, classes)
    found = []
    for rotation in (SubspaceRotation(basis), FullRotation(d)):
        target = rotation.target(prototypes, means)
        optimiser = torch.optim.Adam(rotation.parameters(), lr=0.03)
        for _ in range(600):
            optimiser.zero_grad()
            distance = rotation.distance(target)
            distance.backward()
            optimiser.step()
        assert float(rotation.distance(target).detach()) < 1e-6
        found.append(rotation.matrix().detach())
    torch.testing.assert_close(found[0], found[1], atol=2e-3, rtol=0)


def test_what_leaves_the_span_is_projected_and_told() -> None:
    prototypes, means, basis = task(12, 3)
    rotation = SubspaceRotation(basis)
    away = draw(8, 12, 3)
    away = away - basis @ basis.mT @ away
    wandered = means + away
    share = float(away.square().sum() / (means.square().sum() + away.square().sum()))
    assert rotation.outside(wandered) == pytest.approx(share)
    assert rotation.outside(away) == pytest.approx(1)
    assert rotation.outside(torch.zeros(12, 3)) == 0
    torch.testing.assert_close(rotation.target(prototypes, wandered), rotation.target(prototypes, means))
    assert FullRotation(12).outside(wandered) == 0
    # It is the best of its form still: no other R of the form is closer to E Zbar^T.
    target, product = rotation.target(prototypes, wandered), prototypes @ wandered.mT
    for seed in range(20):
        turn = any_rotation(seed, rotation.size)
        for other in (turn, target @ scipy_exponential(0.01 * draw(seed, rotation.size, rotation.size))):
            assert (basis.mT @ product @ basis * (target - other)).sum() >= -1e-12


def scipy_exponential(matrix: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(scipy.linalg.expm((matrix - matrix.mT).numpy()))


def test_a_class_never_predicted_pulls_nowhere() -> None:
    prototypes, _, _ = task(10, 4)
    features = torch.nn.functional.normalize(draw(0, 30, 10), dim=1)
    means, counts = class_means(features, torch.arange(30) % 3, 4)
    assert counts.tolist() == [10, 10, 10, 0]
    product = sum(torch.outer(prototypes[:, c], means[:, c]) for c in range(3))
    assert isinstance(product, torch.Tensor)
    torch.testing.assert_close(FullRotation(10).target(prototypes, means), closest_rotation(product), atol=1e-9, rtol=0)


@pytest.mark.parametrize("form", ["subspace", "full"])
def test_saved_and_loaded(form: str) -> None:
    rotation, other = moved(forms()[form]), forms()[form]
    other.load_state_dict(rotation.state_dict())
    assert torch.equal(other.matrix(), rotation.matrix())
    assert math.isfinite(float(other.distance(other.target(*task(10, 3)[:2])).detach()))
