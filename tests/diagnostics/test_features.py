"""Figures on features are those of slow references, and have the properties that their papers give them."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergeometry.diagnostics.collapse import Collapse, collapse
from mergeometry.diagnostics.kernel_alignment import centred_gram, linear_cka, unbiased_cka
from tests.helpers import feature_reference as reference

SEEDS = st.integers(0, 10_000)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both(one: Tensor, other: Tensor) -> list[float]:
    grams = centred_gram(one), centred_gram(other)
    found = [linear_cka(*grams), unbiased_cka(*grams)]
    assert all(value is not None for value in found)
    return [float(value or 0) for value in found]


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.integers(1, 9), st.integers(1, 9))
def test_alignments_are_those_of_the_papers(seed: int, width: int, other_width: int) -> None:
    one = drawn(seed, 7, width)
    other = one[:, :1] + 0.5 * drawn(seed + 1, 7, other_width)
    expected = reference.linear_cka(one, other), reference.unbiased_cka(one, other)
    assert both(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_rotations_scales_and_shifts_change_no_alignment(seed: int) -> None:
    one, other = drawn(seed, 20, 6), drawn(seed, 20, 6) + drawn(seed + 1, 20, 6)
    rotation = torch.linalg.qr(drawn(seed + 2, 6, 6))[0]
    turned = 3.7 * one @ rotation + drawn(seed + 3, 6)
    assert both(turned, other) == pytest.approx(both(one, other), abs=1e-9)
    assert both(turned, one) == pytest.approx([1, 1], abs=1e-9)
    stretched = one * torch.tensor([9.0, 1, 1, 1, 1, 1])
    assert both(stretched, other)[0] != pytest.approx(both(one, other)[0], abs=1e-3)


def test_unrelated_features_are_unrelated_however_few_the_inputs() -> None:
    biased, unbiased = zip(*(both(drawn(2 * n, 64, 128), drawn(2 * n + 1, 64, 128)) for n in range(8)), strict=True)
    assert sum(biased) / 8 == pytest.approx(128 / (64 + 128), abs=0.02)
    assert sum(unbiased) / 8 == pytest.approx(0, abs=0.02)


def test_equal_features_and_few_inputs_have_no_alignment() -> None:
    same = centred_gram(torch.ones(6, 3))
    assert linear_cka(same, centred_gram(drawn(0, 6, 3))) is None and unbiased_cka(same, same) is None
    three = centred_gram(drawn(0, 3, 3))
    assert linear_cka(three, three) == pytest.approx(1) and unbiased_cka(three, three) is None


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_collapse_is_that_of_the_paper(seed: int) -> None:
    classes = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4])
    features, head = drawn(seed, 12, 9) + 2 * drawn(seed + 1, 5, 9)[classes], drawn(seed + 2, 5, 9)
    predicted = (features @ head.mT).argmax(dim=1)
    found = collapse(features, classes, head, predicted)
    assert found is not None and (found.classes, found.inputs) == (4, 11), "a class of one input does not count"
    expected = reference.collapse(features, classes, head, predicted)
    assert {key: asdict(found)[key] for key in expected} == pytest.approx(expected, rel=1e-9)


def simplex(count: int, width: int) -> Tensor:
    frame = torch.linalg.qr(drawn(1, width, count))[0]
    return (frame @ (torch.eye(count, dtype=torch.float64) - 1 / count)).mT


def test_features_on_the_vertices_of_a_simplex_have_collapsed() -> None:
    vertices = simplex(5, 8)
    classes = torch.arange(5).repeat(3)
    features = 4 * vertices[classes] + drawn(2, 8)  # anywhere, and of any size
    found = collapse(features, classes, 0.3 * vertices, classes)
    assert found is not None
    assert [found.nc1, found.nc2_lengths, found.nc2_angles, found.nc3, found.nc4] == pytest.approx([0] * 5, abs=1e-12)


def test_each_figure_sees_its_own_departure() -> None:
    vertices, classes = simplex(4, 8), torch.arange(4).repeat(5)

    def of(features: Tensor, head: Tensor = vertices, predicted: Tensor = classes) -> Collapse:
        found = collapse(features, classes, head, predicted)
        assert found is not None
        return found

    noisy = of(vertices[classes] + 0.1 * drawn(3, 20, 8))
    noisier = of(vertices[classes] + 0.3 * drawn(3, 20, 8))
    assert noisy.nc1 is not None and noisier.nc1 is not None and noisier.nc1 > 4 * noisy.nc1 > 0
    longer = torch.tensor([1.0, 1, 1, 3], dtype=torch.float64).unsqueeze(1)
    assert (of((vertices * longer)[classes]).nc2_lengths or 0) > 0.1
    assert (of(torch.eye(8, dtype=torch.float64)[[0, 0, 1, 2]][classes] + vertices[classes]).nc2_angles or 0) > 0.1
    outside = torch.linalg.svd(vertices)[2][4:8]
    assert of(vertices[classes], outside).nc3 == pytest.approx(2), "orthogonal to the means"
    assert of(vertices[classes], -vertices).nc3 == pytest.approx(4)
    wrong = classes.clone()
    wrong[:5] = (wrong[:5] + 1) % 4
    assert of(vertices[classes], predicted=wrong).nc4 == pytest.approx(0.25)


def test_what_is_not_defined_is_none() -> None:
    assert collapse(drawn(0, 4, 3), torch.tensor([0, 0, 0, 1])) is None, "one class of two inputs"
    assert collapse(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])) is None, "equal means"
    two = collapse(drawn(0, 4, 3), torch.tensor([0, 0, 1, 1]))
    assert two is not None and two.nc2_lengths is None and two.nc2_angles is None, "two means are always a simplex"
    assert two.nc3 is None and two.nc4 is None and two.nc1 is not None
