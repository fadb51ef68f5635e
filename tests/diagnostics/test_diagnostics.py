"""Every diagnostic against a slow float64 reference, on dense, low-rank, wide, tall and degenerate task vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mergeometry.diagnostics.accumulation import accumulation
from mergeometry.diagnostics.alignment import ENERGY, directional_consistency, share_held, subspace_alignment
from mergeometry.diagnostics.angles import principal_cosines, subspace_overlap
from mergeometry.diagnostics.entries import BLOCK, statistics_of_entries
from mergeometry.diagnostics.frames import deviation, residual
from mergeometry.diagnostics.interference import singular_task_interference, strength
from mergeometry.diagnostics.lineage import base_alignment
from mergeometry.diagnostics.products import DirectionProducts
from mergeometry.diagnostics.spectra import effective_rank, energy_kept, stable_rank
from mergeometry.diagnostics.tables import moved_rows
from mergeometry.linalg.inner import inner, inner_with_each
from mergeometry.linalg.norms import frobenius
from mergeometry.linalg.shrinkage import RowMovements
from mergeometry.linalg.spectrum import Spectrum
from mergeometry.methods.mda import MDA
from mergeometry.values import Delta, Directions, LowRank, sum_of
from tests.helpers import diagnostics_reference as reference

SHAPES = [(24, 16), (16, 24), (90, 80)]
"""The last is large enough for the leading triplets to come from a tridiagonal form."""


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Entries of sizes that differ, as those of real task vectors do."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.logspace(0, -2, shape[0], dtype=torch.float64)[:, None]
    return rows * torch.randn(*shape, dtype=torch.float64, generator=generator)


def three(shape: tuple[int, int]) -> list[Delta]:
    """Two dense task vectors with something in common, and a low-rank one."""
    common = drawn(9, *shape)
    m, n = shape
    thin = LowRank(drawn(3, m, 3), torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)), drawn(4, n, 3))
    return [drawn(1, *shape) + common, drawn(2, *shape) - 0.5 * common, thin]


def dense(deltas: list[Delta]) -> list[np.ndarray]:
    return [(delta.dense(torch.float64) if isinstance(delta, LowRank) else delta).numpy() for delta in deltas]


@pytest.fixture(params=SHAPES, ids=str)
def deltas(request: pytest.FixtureRequest) -> list[Delta]:
    return three(request.param)


def close(value: object, wanted: object, tolerance: float = 1e-9) -> bool:
    return bool(np.allclose(np.asarray(value, float), np.asarray(wanted, float), rtol=tolerance, atol=tolerance))


def test_spectra(deltas: list[Delta]) -> None:
    for delta, tau in zip(deltas, dense(deltas), strict=True):
        values = Spectrum.of(delta, 4).values
        kept = reference.energy_kept(tau)
        assert close(energy_kept(values), kept[: len(values)])
        assert close(kept[len(values) :], 1.0)
        assert close(effective_rank(values), reference.effective_rank(tau), 1e-6)
        assert close(stable_rank(values), reference.stable_rank(tau))


def test_entries(deltas: list[Delta]) -> None:
    taus, found = dense(deltas), statistics_of_entries(deltas)
    assert close(found.norms(), [np.linalg.norm(tau) for tau in taus])
    for s, t in reference.pairs(taus):
        cosine = (taus[s] * taus[t]).sum() / np.linalg.norm(taus[s]) / np.linalg.norm(taus[t])
        assert close(found.cosines()[s, t], cosine)
        assert close(found.conflicts()[s, t], reference.conflict_of_pair(taus[s], taus[t]))
    assert close(found.conflict(), reference.conflict(taus))


def test_entries_do_not_depend_on_blocks_or_layout() -> None:
    flat = [drawn(seed, 1, BLOCK + 5).squeeze(0) for seed in (1, 2)]
    whole = statistics_of_entries(flat)
    first, second = (statistics_of_entries([one[part] for one in flat]) for part in (slice(0, 9), slice(9, None)))
    assert close((first + second).gram, whole.gram)
    assert close((first + second).outvoted, whole.outvoted)
    turned = [drawn(seed, 5, 7).mT for seed in (1, 2)]
    copied = statistics_of_entries([one.contiguous() for one in turned])
    assert close(statistics_of_entries(turned).conflict(), copied.conflict())


def test_independent_updates_conflict_as_the_docstrings_say() -> None:
    generator = torch.Generator().manual_seed(0)
    updates = [torch.randn(200_000, generator=generator) for _ in range(4)]
    found = statistics_of_entries(updates)
    assert math.isclose(found.conflict(), (1 - 4**-0.5) / 2, abs_tol=2e-3)
    assert math.isclose(float(found.conflicts()[0, 1]), 0.146, abs_tol=2e-3)


def test_subspaces(deltas: list[Delta]) -> None:
    tops, taus = [Spectrum.of(delta, 5).leading for delta in deltas], dense(deltas)
    exact, products = [reference.triplets(tau, 5) for tau in taus], DirectionProducts.of(tops)
    for s, t in reference.pairs(taus):
        wanted = reference.principal_cosines(exact[s][0], exact[t][0])
        assert close(principal_cosines(tops[s].left, tops[t].left), wanted, 1e-6)
        assert close(subspace_overlap(products.between_left(s, t)), (wanted**2).mean(), 1e-6)
        wanted = reference.principal_cosines(exact[s][2], exact[t][2])
        assert close(subspace_overlap(products.between_right(s, t)), (wanted**2).mean(), 1e-6)
        pair = products.pair(s, t)
        assert close(singular_task_interference(pair), reference.interference([taus[s], taus[t]], 5), 1e-6)
        assert close(strength(pair), exact[s][1].sum() + exact[t][1].sum())
    assert close(singular_task_interference(products), reference.interference(taus, 5), 1e-6)
    assert close(strength(products), sum(values.sum() for _, values, _ in exact))


def test_tasks_of_orthogonal_directions_do_not_interfere() -> None:
    square, _ = torch.linalg.qr(drawn(1, 12, 12))
    ones = torch.ones(4, dtype=torch.float64)
    tops = [Directions(square[:, :4], ones, square[:, :4]), Directions(square[:, 4:8], ones, square[:, 4:8])]
    products = DirectionProducts.of(tops)
    assert singular_task_interference(products) < 1e-12
    assert singular_task_interference(DirectionProducts.of(tops[:1])) < 1e-12
    assert subspace_overlap(products.between_left(0, 1)) < 1e-24
    assert close(subspace_overlap(products.between_left(0, 0)), 1.0)


def test_adapters_are_decomposed_together_as_one_by_one() -> None:
    factors = [(drawn(seed, 40, 4), drawn(seed + 9, 4, 4), drawn(seed + 19, 24, 4)) for seed in range(3)]
    factors[1][0][:, 3] = factors[1][0][:, 2]  # one is of rank 3
    adapters: list[Delta] = [LowRank(*parts) for parts in factors]
    mixed = [*adapters, adapters[0].dense() if isinstance(adapters[0], LowRank) else adapters[0]]
    for several in (adapters, adapters[:1], mixed):
        for whole, delta in zip(Spectrum.of_each(several, [2] * len(several)), several, strict=True):
            alone = Spectrum.of(delta, 2)
            assert torch.allclose(whole.values, alone.values, rtol=1e-12, atol=0)
            assert torch.allclose(whole.leading.left, alone.leading.left, rtol=0, atol=1e-12)
            assert torch.allclose(whole.leading.right, alone.leading.right, rtol=0, atol=1e-12)
            assert whole.leading.of_adapter == alone.leading.of_adapter


def test_inner_products_with_one_tensor(deltas: list[Delta]) -> None:
    dense_one = drawn(5, *deltas[0].shape)
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    for several in (deltas, thin):
        found = inner_with_each(several, dense_one)
        assert all(close(each, inner(delta, dense_one)) for each, delta in zip(found, several, strict=True))


@pytest.mark.parametrize("low_rank", [False, True])
def test_what_became_of_each_task(deltas: list[Delta], low_rank: bool) -> None:
    merged: Delta = sum_of(deltas)
    if low_rank:
        merged = Spectrum.of(merged, 6).leading.low_rank()
    tau, taus = dense([merged])[0], dense(deltas)
    whole = Spectrum.of(merged, min(merged.shape))
    for delta, own in zip(deltas, taus, strict=True):
        top = Spectrum.of(delta, 5).leading
        found = subspace_alignment(whole.holding(ENERGY), delta, frobenius(delta))
        assert close(found, reference.alignment(tau, own), 1e-6)
        assert close(directional_consistency(top, whole.leading.left), reference.consistency(tau, own, 5), 1e-6)
        assert close(share_held(inner(merged, delta), frobenius(delta)), (tau * own).sum() / (own**2).sum())
    assert close(accumulation(whole.leading, deltas), reference.accumulation(tau, taus), 1e-5)


def test_a_task_alone_is_held_whole() -> None:
    delta = drawn(1, 9, 7)
    whole = Spectrum.of(delta, 7)
    assert close(directional_consistency(whole.leading, whole.leading.left), 1.0)
    assert close(accumulation(whole.leading, [delta]), 1.0)
    assert close(share_held(inner(delta, delta), frobenius(delta)), 1.0)


def test_what_two_equal_tasks_share_is_counted_twice_by_their_sum() -> None:
    delta = drawn(1, 9, 7)
    whole = Spectrum.of(2 * delta, 7)
    assert close(accumulation(whole.leading, [delta, delta]), 2.0)


def test_frames() -> None:
    deltas = [drawn(seed, 24, 16) for seed in (1, 2, 3)]
    tops, taus = [Spectrum.of(delta, 5).leading for delta in deltas], dense(list(deltas))
    merged = sum_of(deltas)
    assert close(deviation(merged, tops), reference.deviation(merged.numpy(), taus, 5), 1e-6)
    assert close(residual(merged, tops), reference.residual(merged.numpy(), taus, 5), 1e-6)
    framed = MDA(rank=5)(deltas)
    found = residual(framed, tops)
    assert found is not None and found < 1e-9, "MDA's update lies inside the frame that it is projected to"


def test_a_simplex_is_not_defined_for_everything() -> None:
    one = drawn(1, 8, 6)
    top = Spectrum.of(one, 2).leading
    assert deviation(one, [top]) is None
    assert deviation(one, [top, top.leading(1)]) is None
    assert deviation(torch.zeros(8, 6), [top, top]) is None
    assert deviation(one, [top, top]) is None, "equal tasks have no directions of their own left once centred"
    assert residual(torch.zeros(8, 6), [top, top]) is None
    assert residual(one, [top.leading(1)]) is None


def test_rows_of_tables() -> None:
    tables = [torch.zeros(6, 3) for _ in range(3)]
    tables[0][0, 1] = tables[1][0, 2] = tables[2][0, 0] = 1.0
    tables[0][1] = tables[2][1] = 1.0
    tables[1][4, 0] = 1e-30
    movements = [RowMovements(6) for _ in tables]
    for each, table in zip(movements, tables, strict=True):
        each.add(torch.ones(4, 3), table[:4])
        each.add(torch.ones(2, 3), table[4:])
    found = moved_rows(movements)
    by, alone = reference.moved_rows([table.numpy() for table in tables])
    assert (list(found.by), list(found.alone)) == (by, alone) == ([3, 1, 1, 1], [0, 1, 0])
    assert found.shrinkage == (0.0, 0.0, 0.0)


def test_alignment_with_the_base() -> None:
    base, tuned, other = drawn(1, 40, 40), drawn(1, 40, 40) + 0.01 * drawn(2, 40, 40), drawn(3, 40, 40)
    for model in (tuned, other):
        tau = model - base
        found = base_alignment(inner(base, base), inner(tau, base), inner(tau, tau))
        assert close(found, (model * base).sum() / model.norm() / base.norm())
    assert base_alignment(0.0, 0.0, 1.0) == 0.0


def test_nothing_breaks_on_zero_matrices() -> None:
    nothing: list[Delta] = [torch.zeros(5, 4), LowRank.zero(5, 4)]
    found = statistics_of_entries(nothing)
    assert found.conflict() == 0.0 and not found.cosines().any() and not found.conflicts().any()
    whole = [Spectrum.of(delta, 2) for delta in nothing]
    for one in whole:
        assert one.holding(ENERGY).count == one.leading.count == 0
        assert (effective_rank(one.values), stable_rank(one.values)) == (0.0, 0.0)
        assert directional_consistency(one.leading, one.leading.left) == 0.0
    products = DirectionProducts.of([one.leading for one in whole])
    assert subspace_overlap(products.between_left(0, 1)) == 0.0
    assert principal_cosines(whole[0].leading.left, whole[1].leading.left).numel() == 0
    assert singular_task_interference(products) == 0.0
    assert accumulation(whole[0].leading, nothing).numel() == 0
    assert subspace_alignment(whole[0].leading, nothing[0], 0.0) == share_held(0.0, 0.0) == 0.0
