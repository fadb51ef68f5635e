"""Prototypes against the definition of a simplex, the optimum they claim, and frames whose coherence is known."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch

from mergeometry.errors import DataError, NumericalError
from mergeometry.learning.prototypes import LARGEST_FRAME, Prototypes, head_prototypes, random_prototypes


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_simplex(found: Prototypes, classes: int, size: int) -> None:
    assert found.vectors.shape == (size, classes)
    assert found.is_simplex
    assert found.coherence == pytest.approx(1 / (classes - 1))
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(found.vectors.mT @ found.vectors, expected, atol=1e-12, rtol=0)


def own_class(found: Prototypes, weight: torch.Tensor) -> float:
    """Share of classes whose own prototype has the largest cosine with their centred weights."""
    nearest = ((weight - weight.mean(dim=0)).double() @ found.vectors).argmax(dim=1)
    return float((nearest == torch.arange(len(weight))).double().mean())


@pytest.mark.parametrize(("classes", "size"), [(2, 384), (2, 1), (3, 2), (5, 64), (20, 384), (65, 64), (64, 64)])
def test_prototypes_of_a_head_are_a_simplex_by_their_classes(classes: int, size: int) -> None:
    weight = draw(classes, classes, size).float()
    found = head_prototypes(weight)
    assert_simplex(found, classes, size)
    assert own_class(found, weight) == 1
    assert found.note is None


@pytest.mark.parametrize(("classes", "size"), [(2, 6), (4, 3), (5, 9)])
def test_no_simplex_lies_closer_to_the_head(classes: int, size: int) -> None:
    centred = draw(3, classes, size)
    centred = (centred - centred.mean(dim=0)).mT
    found = head_prototypes(centred.mT).vectors
    best = float((found * centred).sum())
    # All other simplices: turned ones (near and far, reflections too), and classes in another order.
    for seed in range(50):
        skew = draw(seed, size, size)
        near = torch.from_numpy(scipy.linalg.expm(0.01 * (skew - skew.mT).numpy()))
        far = torch.linalg.qr(skew)[0]
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
        for other in (near @ found, far @ found, far @ found[:, order], found[:, order]):
            assert float((other * centred).sum()) <= best + 1e-12


def test_well_kept_heads_keep_their_directions() -> None:
    """Class weights that are a simplex already, of any length and place, are their own prototypes."""
    simplex = random_prototypes(6, 10, torch.Generator().manual_seed(0)).vectors
    weight = 0.3 * simplex.mT + draw(1, 1, 10)
    torch.testing.assert_close(head_prototypes(weight).vectors, simplex, atol=1e-9, rtol=0)


def test_two_classes_point_along_their_difference() -> None:
    weight = draw(4, 2, 7)
    along = torch.nn.functional.normalize(weight[0] - weight[1], dim=0)
    torch.testing.assert_close(head_prototypes(weight).vectors, torch.stack([along, -along], dim=1))


def test_equal_class_weights_still_get_a_simplex() -> None:
    weight = draw(5, 6, 12)
    weight[3] = weight[1]
    found = head_prototypes(weight)
    assert_simplex(found, 6, 12)
    assert found.note is not None
    assert "4 of the 5 directions" in found.note
    assert own_class(found, weight[[0, 1, 2, 4, 5]].clone()) < 1  # of other classes: the check can fail
    nearest = ((weight - weight.mean(dim=0)) @ found.vectors).argmax(dim=1)
    assert nearest[[0, 2, 4, 5]].tolist() == [0, 2, 4, 5]
    assert set(nearest[[1, 3]].tolist()) <= {1, 3}
    assert torch.equal(head_prototypes(weight).vectors, found.vectors)


def test_a_head_of_zeros_says_nothing() -> None:
    found = head_prototypes(torch.zeros(4, 5))
    assert_simplex(found, 4, 5)
    assert found.note is not None
    assert "0 of the 3" in found.note


def test_random_prototypes_follow_their_generator() -> None:
    first, again = (random_prototypes(5, 9, torch.Generator().manual_seed(3)) for _ in range(2))
    other = random_prototypes(5, 9, torch.Generator().manual_seed(4))
    assert_simplex(first, 5, 9)
    assert torch.equal(first.vectors, again.vectors)
    assert (first.vectors - other.vectors).abs().max() > 0.1


@pytest.mark.parametrize(
    ("classes", "size", "known"),
    [
        (4, 2, math.cos(math.pi / 4)),  # lines in a plane, evenly spread
        (5, 2, math.cos(math.pi / 5)),
        (6, 3, 1 / math.sqrt(5)),  # the diagonals of an icosahedron, which meet Welch's bound
        (28, 7, 1 / 3),  # the 28 equiangular lines, which do as well
    ],
)
def test_coherence_is_the_least_known_where_there_is_no_simplex(classes: int, size: int, known: float) -> None:
    found = random_prototypes(classes, size, torch.Generator().manual_seed(1))
    assert not found.is_simplex
    torch.testing.assert_close(found.vectors.norm(dim=0), torch.ones(classes, dtype=torch.float64))
    cosines = (found.vectors.mT @ found.vectors).fill_diagonal_(0)
    assert found.coherence == pytest.approx(float(cosines.abs().max()))
    assert found.coherence == pytest.approx(known, rel=2e-3)
    assert found.note is not None
    assert f"{found.coherence:.4f}" in found.note
    assert f"{math.sqrt((classes - size) / (size * (classes - 1))):.4f}" in found.note


def test_a_frame_lies_by_its_classes_and_is_wider_than_the_head() -> None:
    weight = draw(6, 60, 20) + draw(7, 1, 20)
    found = head_prototypes(weight)
    start = torch.nn.functional.normalize(weight - weight.mean(dim=0), dim=1)
    before = float((start @ start.mT).fill_diagonal_(0).abs().max())
    assert found.coherence < 0.6 * before
    assert own_class(found, weight) == 1
    assert torch.equal(head_prototypes(weight).vectors, found.vectors)


def test_a_frame_is_turned_towards_its_head() -> None:
    """No rotation or reflection of the whole comes closer: ``X V^T`` is symmetric and positive."""
    weight = draw(6, 12, 4)
    product = (weight - weight.mean(dim=0)).mT @ head_prototypes(weight).vectors.mT
    torch.testing.assert_close(product, product.mT, atol=1e-9, rtol=0)
    assert torch.linalg.eigvalsh(product).min() > 0


def test_equal_classes_part_where_there_is_no_simplex() -> None:
    half = draw(8, 4, 3)
    half[3] = half[2]
    weight = torch.cat([half, -half, torch.zeros(1, 3, dtype=torch.float64)])  # the last at the mean: no direction
    found = head_prototypes(weight)
    assert found.vectors.isfinite().all()
    assert found.coherence < 0.75


def test_heads_that_have_no_prototypes_are_refused() -> None:
    with pytest.raises(DataError, match="1 class") as refused:
        head_prototypes(torch.ones(1, 8))
    assert "alpha and beta" in str(refused.value)
    with pytest.raises(DataError, match=r"no simplex.*too many"):
        head_prototypes(torch.ones(LARGEST_FRAME + 1, 8))
    with pytest.raises(NumericalError):
        head_prototypes(torch.full((3, 8), float("nan")))
