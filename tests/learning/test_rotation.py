"""Rotations that are learned: they turn, fold into a head, stay rotations, and are the same in both forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from mergeometry.errors import DataError
from mergeometry.learning.losses import alignment, class_means
from mergeometry.learning.prototypes import head_prototypes
from mergeometry.learning.rotation import FullRotation, SubspaceRotation, TaskRotation, fold_into
from mergeometry.linalg.rotations import closest_rotation, span_basis
from tests.helpers.matrices import draw
from tests.helpers.rotations import any_rotation, coordinates_of, eye, is_rotation


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


@pytest.mark.suite
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
