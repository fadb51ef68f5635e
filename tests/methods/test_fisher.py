"""Fisher merging against the paper's equation, written in float64 entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mergeometry as mg
from mergeometry.methods import registry
from mergeometry.methods.base import merged_in_pieces
from mergeometry.values import LowRank
from tests.helpers import spectra

Array = NDArray[np.float64]
CASES: list[dict[str, Any]] = [{}, {"floor": 1e-2}, {"normalize": False}, {"normalize": False, "floor": 0.3}]


def equation(
    models: Sequence[Array],
    fishers: Sequence[Array],
    weights: Sequence[float],
    norms: Sequence[float],
    normalize: bool = True,
    floor: float = 1e-6,
) -> Array:
    """Matena and Raffel's equation 3 with a floor, for the models' weights themselves."""
    merged = np.empty(models[0].shape)
    for place in np.ndindex(*models[0].shape):
        above = below = 0.0
        for model, fisher, weight, norm in zip(models, fishers, weights, norms, strict=True):
            importance = weight * max(fisher[place] / (norm if normalize else 1.0), floor)
            above, below = above + importance * model[place], below + importance
        merged[place] = above / below
    return merged


def information(seed: int, shape: tuple[int, ...]) -> Array:
    generator = np.random.default_rng(40 + seed)
    return generator.standard_normal(shape) ** 2 * np.exp(3 * generator.standard_normal(shape))


def test_every_method_by_fisher_information_has_a_reference() -> None:
    assert {name for name in registry.names() if registry.find(name).merges_by == "Fisher information"} == {"fisher"}


@pytest.mark.parametrize("given", CASES, ids=str)
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.0, 2.0, 0.5]], ids=["equal", "weighted"])
def test_the_papers_equation(given: dict[str, Any], weights: list[float]) -> None:
    for seed, shape in enumerate(((12, 9), (7,), (2, 3, 4))):
        base = np.random.default_rng(seed).standard_normal(shape)
        taus = [np.random.default_rng(10 * seed + t).standard_normal(shape) for t in range(3)]
        fishers = [information(10 * seed + t, shape) for t in range(3)]
        norms = [3.0, 1.0, 7.0]
        expected = equation([base + tau for tau in taus], fishers, weights, norms, **given) - base
        method = mg.methods.Fisher(**given).with_fishers([torch.from_numpy(one) for one in fishers], norms)
        deltas = [torch.from_numpy(tau) for tau in taus]
        np.testing.assert_allclose(method(deltas, weights).numpy(), expected, rtol=1e-10, atol=1e-12)
        # A piece of a few entries at a time.
        pieces = method.piecewise(weights, shape)
        pieces.step = 5
        np.testing.assert_allclose(merged_in_pieces(pieces, deltas).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_adapters_merge_as_the_matrices_that_they_are_folded_into() -> None:
    pairs = spectra.adapters(0, (12, 9), 3, 4)
    thin = [LowRank(torch.from_numpy(B), torch.eye(4), torch.from_numpy(A.T)) for B, A in pairs]
    fishers = [torch.from_numpy(information(t, (12, 9))) for t in range(3)]
    method = mg.methods.Fisher().with_fishers(fishers)
    merged, whole = method(thin), method([delta.dense() for delta in thin])
    assert isinstance(merged, torch.Tensor) and isinstance(whole, torch.Tensor)
    torch.testing.assert_close(merged, whole)
    assert not method.stays_low_rank


def test_an_entry_that_no_model_depends_on_gets_the_weighted_mean() -> None:
    deltas = [torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0])]
    method = mg.methods.Fisher().with_fishers([torch.tensor([2.0, 0.0]), torch.tensor([2.0, 0.0])])
    torch.testing.assert_close(method(deltas, [1.0, 2.0]), torch.tensor([3.0, 3.0]))
    nothing = mg.methods.Fisher().with_fishers([torch.zeros(2)] * 2)
    torch.testing.assert_close(nothing(deltas), torch.tensor([2.5, 2.5]))


def test_what_is_given_is_checked() -> None:
    deltas, method = [torch.randn(4, 3) for _ in range(2)], mg.methods.Fisher()
    with pytest.raises(ValueError, match=r"Fisher needs each model's diagonal Fisher information: .*with_fishers"):
        method(deltas)
    with pytest.raises(ValueError, match="the information of 2 models, got 1"):
        method.with_fishers([torch.ones(4, 3)])(deltas)
    with pytest.raises(ValueError, match=r"information of shape \[4, 3\], got \[3, 4\]"):
        method.with_fishers([torch.ones(3, 4)] * 2)(deltas)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="of model 1 is negative or not finite"):
            method.with_fishers([torch.ones(4, 3), torch.full((4, 3), wrong)])
    with pytest.raises(ValueError, match="must not be negative, nor all zero"):
        method.with_fishers([torch.ones(4, 3)] * 2)(deltas, [1.0, -1.0])
    with pytest.raises(ValueError, match="floor"):
        mg.methods.Fisher(floor=0.0)
