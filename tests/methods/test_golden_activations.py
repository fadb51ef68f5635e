"""Merges by activations against slow references that are written from the activations, not from their moments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mergeometry as mg
from mergeometry.methods import registry
from mergeometry.methods.base import Activational
from mergeometry.values import LowRank
from tests.helpers import spectra

Array = NDArray[np.float64]
TOLERANCE = 1e-6


def regmean(taus: Sequence[Array], inputs: Sequence[Array], shrinkage: float = 0.9, weights: Any = None) -> Array:
    """Least squares on the stacked inputs: what is left of a moment's diagonal is a row for each input by itself."""
    rows, answers = [], []
    for tau, X, weight in zip(taus, inputs, weights or [1.0] * len(taus), strict=True):
        unit = X / np.sqrt(len(X))
        alone = np.diag(np.sqrt((unit**2).sum(axis=0)))
        for part in (np.sqrt(shrinkage) * unit, np.sqrt(1 - shrinkage) * alone):
            rows.append(np.sqrt(weight) * part)
            answers.append(np.sqrt(weight) * part @ tau.T)
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(answers), rcond=1e-7)[0].T


def esm(
    taus: Sequence[Array], inputs: Sequence[Array], rank: int | None = None, power: float = 2.0, weights: Any = None
) -> Array:
    """The steps of the paper, one after another, with the principal components of the shifts themselves."""
    taus = [w * tau for w, tau in zip(weights or [1.0] * len(taus), taus, strict=True)]
    m, _ = taus[0].shape
    k = rank or max(1, m // len(taus))
    bases, parts = [], []
    for tau, X in zip(taus, inputs, strict=True):
        _, D, Qt = np.linalg.svd(X @ tau.T, full_matrices=False)
        kept = min(k, int(np.sum(D / D[0] > 1e-6)))
        bases.append(Qt[:kept].T)
        parts.append(Qt[:kept] @ tau)
    sizes = [np.linalg.norm(part) for part in parts]
    parts = [part * (size / np.mean(sizes)) ** power for part, size in zip(parts, sizes, strict=True)]
    A = np.concatenate(parts)
    columns = np.linalg.norm(A, axis=0)
    return whitened(np.concatenate(bases, axis=1)) @ whitened(A * (columns / columns.mean()) ** power)


def whitened(A: Array) -> Array:
    P, D, Qt = np.linalg.svd(A, full_matrices=False)
    kept = D / D[0] > 1e-7
    return P[:, kept] @ Qt[kept] * D[kept].mean()


REFERENCES = {"regmean": regmean, "regmean_plusplus": regmean, "esm": esm}
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("regmean", {"shrinkage": shrinkage}) for shrinkage in (0.0, 0.5, 0.9, 1.0)),
    ("regmean", {}),
    ("regmean_plusplus", {"shrinkage": 0.5}),
    *(("esm", {"power": power}) for power in (0.0, 1.0, 2.0)),
    *(("esm", {"rank": rank}) for rank in (1, 5)),
]


def activations(seed: int, n: int, rows: int) -> Array:
    """Inputs with directions of very different strength, as in real layers, and none around zero."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((n, n)) * np.logspace(0, -2, n)
    return (generator.standard_normal((rows, n)) + 0.5) @ mixing


def moments(inputs: Sequence[Array]) -> list[torch.Tensor]:
    return [torch.from_numpy(X.T @ X / len(X)) for X in inputs]


def error_of(merged: torch.Tensor | LowRank, expected: Array) -> float:
    plain = merged.dense(torch.float64) if isinstance(merged, LowRank) else merged.double()
    return float(np.linalg.norm(plain.numpy() - expected) / np.linalg.norm(expected))


def test_every_method_has_a_reference() -> None:
    here = {name for name in registry.names() if registry.find(name).merges_by == "activations"}
    assert {name for name, _ in CASES} == set(REFERENCES) == here


@pytest.mark.parametrize("weights", [None, [0.5, 1.5, 2.0]], ids=["equal", "weighted"])
@pytest.mark.parametrize("shape", [(24, 24), (40, 15), (15, 40)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dense(case: tuple[str, dict[str, Any]], shape: tuple[int, int], weights: list[float] | None) -> None:
    name, given = case
    for seed, tasks in itertools.product(range(3), (1, 3)):
        taus = [np.float64(tau) for tau in spectra.task_vectors(seed, shape, tasks)]
        inputs = [activations(10 * seed + t, shape[1], 120) for t in range(tasks)]
        own = weights[:tasks] if weights else None
        method = registry.build(name, given)
        assert isinstance(method, Activational)
        merged = method.with_moments(moments(inputs))([torch.from_numpy(tau) for tau in taus], own)
        error = error_of(merged, REFERENCES[name](taus, inputs, **given, weights=own))
        assert error <= TOLERANCE, f"seed {seed}, T = {tasks}: relative error {error:.2e}"


@pytest.mark.parametrize("case", [case for case in CASES if case[1].get("rank") != 5], ids=str)
def test_low_rank(case: tuple[str, dict[str, Any]]) -> None:
    name, given = case
    for shape in ((30, 20), (20, 30)):
        pairs = spectra.adapters(0, shape, 3, 4)
        deltas = [LowRank(torch.from_numpy(B), torch.eye(4), torch.from_numpy(A.T)) for B, A in pairs]
        taus = [B.astype(np.float64) @ A.astype(np.float64) for B, A in pairs]
        inputs = [activations(t, shape[1], 90) for t in range(3)]
        method = registry.build(name, given)
        assert isinstance(method, Activational)
        merged = method.with_moments(moments(inputs))(deltas)
        assert isinstance(merged, LowRank)
        assert merged.rank <= 12
        assert error_of(merged, REFERENCES[name](taus, inputs, **given)) <= 1e-5


@pytest.mark.parametrize("shrinkage", [0.9, 1.0])
def test_few_inputs_leave_the_base_where_nothing_points(shrinkage: float) -> None:
    """Three rows for twenty inputs, five of which are never active."""
    taus = [np.float64(tau) for tau in spectra.task_vectors(1, (12, 20), 2)]
    inputs = [activations(t, 20, 3) for t in range(2)]
    for X in inputs:
        X[:, 15:] = 0.0
    method = mg.methods.RegMean(shrinkage=shrinkage).with_moments(moments(inputs))
    merged = method([torch.from_numpy(tau) for tau in taus])
    assert isinstance(merged, torch.Tensor)
    assert bool(torch.isfinite(merged).all())
    assert float(merged[:, 15:].abs().max()) < 1e-9
    assert error_of(merged, regmean(taus, inputs, shrinkage)) <= 1e-5


def test_regmean_is_the_least_change_of_outputs() -> None:
    taus = [np.float64(tau) for tau in spectra.task_vectors(2, (10, 16), 3)]
    inputs = [activations(t, 16, 60) for t in range(3)]
    method = mg.methods.RegMean(shrinkage=1.0).with_moments(moments(inputs))
    best = method([torch.from_numpy(tau) for tau in taus]).numpy()

    def change(tau: Array) -> float:
        return sum(float(np.linalg.norm(X @ (tau - own).T) ** 2) for X, own in zip(inputs, taus, strict=True))

    generator = np.random.default_rng(0)
    assert change(best) < change(np.mean(taus, axis=0))
    for _ in range(5):
        assert change(best) < change(best + 1e-3 * generator.standard_normal(best.shape))


def test_what_is_given_is_checked() -> None:
    deltas = [torch.randn(4, 3) for _ in range(2)]
    method = mg.methods.RegMean()
    with pytest.raises(ValueError, match=r"RegMean needs the second moment .*with_moments"):
        method(deltas)
    with pytest.raises(ValueError, match="a moment for each of 2 task vectors, got 1"):
        method.with_moments([torch.eye(3)])(deltas)
    with pytest.raises(ValueError, match=r"a moment of 3 x 3 inputs, got \[4, 4\]"):
        method.with_moments([torch.eye(4)] * 2)(deltas)
    with pytest.raises(ValueError, match="must not be negative"):
        method.with_moments([torch.eye(3)] * 2)(deltas, [1.0, -1.0])
    with pytest.raises(ValueError, match="rank 7 is out of range"):
        mg.methods.ESM(rank=7).with_moments([torch.eye(3)] * 2)(deltas)


def test_layers_are_compared_by_their_norms() -> None:
    deltas = [torch.randn(6, 4, generator=torch.Generator().manual_seed(t)) for t in range(2)]
    method = mg.methods.ESM(power=3.0).with_moments([torch.eye(4)] * 2)
    torch.testing.assert_close(method.for_layer(0.5)(deltas), 0.125 * method(deltas))
