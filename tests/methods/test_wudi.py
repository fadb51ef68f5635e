"""The exact answer of WUDI is a minimum, the smallest one, however its equations are solved."""

from __future__ import annotations

import pytest
import torch

from mergeometry.linalg import lapack
from mergeometry.linalg.normal import solve_gram
from mergeometry.methods.wudi import WUDI, interference
from mergeometry.values import LowRank


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_interference_is_its_definition() -> None:
    deltas, tau = [drawn(t, 5, 4) for t in range(3)], drawn(9, 5, 4)
    expected = sum(float(torch.linalg.matrix_norm((tau - d) @ d.T)) ** 2 / float(d.norm()) ** 2 for d in deltas)
    assert interference(tau, deltas) == pytest.approx(expected, rel=1e-12)
    assert interference(tau, [*deltas, torch.zeros(5, 4)]) == pytest.approx(expected, rel=1e-12)
    assert interference(deltas[0], deltas[:1]) == 0.0


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (6, 40)])
def test_no_step_in_any_direction_lowers_the_interference(shape: tuple[int, int]) -> None:
    deltas = [drawn(t, *shape) for t in range(3)]
    tau = WUDI()(deltas)
    assert isinstance(tau, torch.Tensor)
    least = interference(tau, deltas)
    for seed in range(20):
        for size in (1e-3, 1.0):
            assert interference(tau + size * drawn(100 + seed, *shape), deltas) >= least * (1 - 1e-12)
    start = torch.stack(deltas).sum(dim=0)
    steps = WUDI(solver="adam", steps=300, learning_rate=1e-3)(deltas)
    assert isinstance(steps, torch.Tensor)
    assert least < interference(steps, deltas) < interference(start, deltas)


def test_of_several_minimisers_the_smallest_is_taken() -> None:
    """Rows that no task has add nothing: the answer lies in the span of the tasks' rows."""
    deltas = [drawn(t, 4, 3) @ drawn(20, 3, 9) for t in range(2)]
    tau = WUDI()(deltas)
    assert isinstance(tau, torch.Tensor)
    _, _, rows = torch.linalg.svd(drawn(20, 3, 9))
    assert float((tau @ rows[3:].T).norm()) <= 1e-10 * float(tau.norm())


def test_both_ways_to_solve_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, target = drawn(0, 30, 12), drawn(1, 5, 12)
    weight = rows.T @ rows
    direct = solve_gram(target, weight.triu())
    assert torch.allclose(direct @ weight, target, atol=1e-10)
    monkeypatch.setattr(lapack, "WELL_CONDITIONED", 1.0)
    assert torch.allclose(solve_gram(target, weight.triu()), direct, atol=1e-12)


def test_a_singular_matrix_has_its_pseudo_inverse() -> None:
    rows = drawn(0, 4, 9)
    weight = rows.T @ rows
    target = drawn(1, 5, 4) @ rows
    expected = target @ torch.linalg.pinv(weight, hermitian=True, rtol=1e-12)
    assert torch.allclose(solve_gram(target, weight), expected, atol=1e-9)
    assert torch.equal(solve_gram(target * 0, weight * 0), target * 0)


def test_adapters_are_solved_in_the_span_of_their_rows() -> None:
    thin = [LowRank(drawn(t, 50, 2), torch.eye(2).double(), drawn(10 + t, 70, 2)) for t in range(3)]
    merged = WUDI()(thin)
    assert isinstance(merged, LowRank)
    assert merged.left.shape == (50, 6) and merged.right.shape == (70, 6)
    full = WUDI()([delta.dense(torch.float64) for delta in thin])
    assert isinstance(full, torch.Tensor)
    assert torch.allclose(merged.dense(torch.float64), full, atol=1e-9)
