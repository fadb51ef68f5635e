"""What Core Space changes, and what it cannot: sizes of directions are the same in any orthonormal basis."""

from __future__ import annotations

import pytest
import torch

from mergeometry.methods import registry
from mergeometry.values import Delta, LowRank
from tests.helpers import spectra


def adapters(tasks: int = 3) -> list[Delta]:
    pairs = spectra.adapters(5, (40, 28), tasks, 4)
    return [LowRank(torch.from_numpy(B), torch.eye(4), torch.from_numpy(A.T)) for B, A in pairs]


def dense(merged: Delta) -> torch.Tensor:
    assert isinstance(merged, LowRank)
    return merged.dense(torch.float64)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"combine": "sum", "isotropic": False}, "task_arithmetic"),
        ({"combine": "sum", "isotropic": True}, "iso_c"),
        ({"combine": "tsv_m", "isotropic": False}, "tsv_m"),
    ],
    ids=str,
)
def test_is_the_method_itself_where_that_turns_with_the_basis(given: dict[str, object], name: str) -> None:
    deltas = adapters()
    merged, expected = dense(registry.build("core_space", given)(deltas)), dense(registry.build(name, {})(deltas))
    assert float((merged - expected).norm()) <= 1e-6 * float(expected.norm())


def test_ties_depends_on_the_basis() -> None:
    """The same product of other factors has other bases, and so does the full space."""
    deltas = adapters()
    method = registry.build("core_space", {"combine": "ties", "isotropic": False})
    stretch = torch.diag(torch.tensor([8.0, 1.0, 0.5, 0.1]))
    first = deltas[0]
    assert isinstance(first, LowRank)
    other = [LowRank(first.left @ stretch, stretch.inverse(), first.right), *deltas[1:]]
    merged = dense(method(deltas))
    for expected in (dense(method(other)), registry.build("ties", {"density": 0.1})(deltas)):
        assert isinstance(expected, torch.Tensor)
        assert float((merged - expected).norm()) > 0.05 * float(merged.norm())


def test_an_adapter_that_never_learned_takes_no_room() -> None:
    """B is zero as PEFT starts it, while A is not: its update is zero, and the rank is that of all factors at most."""
    deltas = adapters(2)
    fresh = LowRank(torch.zeros(40, 4), torch.eye(4), torch.randn(28, 4, generator=torch.Generator().manual_seed(0)))
    merged = registry.build("core_space", {"combine": "sum", "isotropic": False})([*deltas, fresh])
    expected = dense(registry.build("task_arithmetic", {})(deltas))
    assert float((dense(merged) - expected).norm()) <= 1e-6 * float(expected.norm())
