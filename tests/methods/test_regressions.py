"""Regressions on the task vectors' own rows: what each becomes at the ends of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mergeometry.linalg.svd import thin_svd
from mergeometry.methods import registry
from mergeometry.values import LowRank


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def merged(name: str, deltas: Sequence[torch.Tensor | LowRank], **given: Any) -> torch.Tensor:
    found = registry.build(name, given)(deltas)
    return found.dense(torch.float64) if isinstance(found, LowRank) else found


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-8) -> bool:
    return float((one - other).norm()) <= tolerance * float(other.norm())


TASKS = [drawn(seed, 9, 12) for seed in range(3)]
THIN = [LowRank(drawn(t, 30, 2), torch.eye(2).double(), drawn(10 + t, 40, 2)) for t in range(3)]


@pytest.mark.parametrize("deltas", [TASKS, THIN], ids=["dense", "adapters"])
def test_swudi_solved_everywhere_is_wudi_and_at_once_it_is_the_sum(deltas: Sequence[torch.Tensor | LowRank]) -> None:
    exact = merged("wudi", deltas)
    assert close(merged("swudi", deltas, keep=1.0, filter="none"), exact)
    assert close(merged("swudi", deltas, keep=1.0, time=1e9), exact)
    assert close(merged("swudi", deltas, time=1e-12), merged("task_arithmetic", deltas))


def test_swudi_is_where_gradient_descent_is_after_that_time() -> None:
    units = [tau / tau.norm() for tau in TASKS]
    total = torch.stack([unit.T @ unit for unit in units]).sum(dim=0)
    target = torch.stack([tau @ unit.T @ unit for tau, unit in zip(TASKS, units, strict=True)]).sum(dim=0)
    tau, step = torch.stack(TASKS).sum(dim=0), 1e-3
    for _ in range(5000):
        tau = tau - step * (tau @ total - target)
    assert close(merged("swudi", TASKS, keep=1.0, time=5.0), tau, 1e-3)


def test_swudi_keeps_a_share_of_the_inputs_or_what_the_spectrum_shows() -> None:
    total = torch.stack([tau.T @ tau / tau.norm() ** 2 for tau in TASKS]).sum(dim=0)
    values, vectors = torch.linalg.eigh(total)
    exact, start = merged("wudi", TASKS), merged("task_arithmetic", TASKS)
    for keep, count in ((0.5, 6), (0.51, 7), ("auto", round(float(values.sqrt().sum() ** 2 / values.sum()) + 0.5))):
        kept = vectors[:, -count:]
        expected = start + (exact - start) @ kept @ kept.T
        assert close(merged("swudi", TASKS, keep=keep, filter="none"), expected)


def test_swudi_keeps_all_of_a_flat_spectrum() -> None:
    """Orthogonal rows of one length: no direction is stronger than another, so none may be left out."""
    turned, _ = torch.linalg.qr(drawn(5, 8, 8))
    for keep in ("auto", 0.3):
        assert close(merged("swudi", [turned, 2 * turned], keep=keep, filter="none"), 1.5 * turned)


def test_actmat_counts_a_task_by_the_square_of_its_size() -> None:
    first, second = TASKS[0] @ drawn(7, 12, 12), TASKS[1]
    assert close(merged("actmat", [first, 1e-6 * second]), merged("actmat", [first, torch.zeros(9, 12)]), 1e-4)
    same = [tau / tau.norm() for tau in TASKS]
    assert close(merged("actmat", same), merged("wudi", same))


def test_reforge_lies_between_its_anchor_and_wudi() -> None:
    for anchor in ("tsv_m", "iso_c", "own_blocks", "task_arithmetic"):
        assert close(merged("reforge", TASKS, anchor=anchor, ridge=1e9), merged(anchor, TASKS), 1e-6)
        assert close(merged("reforge", TASKS, anchor=anchor, ridge=1e-9), merged("wudi", TASKS), 1e-5)


def test_ace_of_small_updates_is_the_mean_of_their_centred_rows() -> None:
    small = [1e-6 * tau for tau in TASKS]
    mean = torch.stack([tau - tau.mean(dim=0) for tau in small]).mean(dim=0)
    assert close(merged("ace", small, threshold=1e6), mean, 1e-6)


def test_ace_refines_where_updates_differ_in_size() -> None:
    uneven = [TASKS[0], 1e-3 * TASKS[1], 30 * TASKS[2]]
    added = merged("ace", uneven, refined=0.25) - merged("ace", uneven, refined=1e-9)
    _, values, _ = thin_svd(added)
    # Two directions in place of one, with the mean of both in place of the first: a difference of rank two.
    assert int((values > 1e-9 * values[0]).sum()) == 2
    assert close(merged("ace", TASKS, refined=0.25), merged("ace", TASKS, refined=1e-9))


def test_rows_that_are_all_alike_have_no_covariance() -> None:
    alike = torch.ones(9, 1).double() @ drawn(3, 1, 12)
    assert close(merged("ace", [alike, 3 * alike]), 2 * alike)
    assert close(merged("ace", [TASKS[0], alike]), merged("ace", [TASKS[0]]))
