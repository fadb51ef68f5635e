"""Means on the sphere where they can be read off, and where they have no answer of their own."""

from __future__ import annotations

import math

import pytest
import torch

import mergeometry as mg
from mergeometry.values import LowRank


def vector(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_quarter_turn_is_shared_out_by_weight() -> None:
    merged = mg.methods.Nuslerp()([vector(2.0, 0.0), vector(0.0, 4.0)], [1.0, 2.0])
    torch.testing.assert_close(merged, vector(2 * math.sin(math.pi / 6), 4 * math.sin(math.pi / 3)))


@pytest.mark.parametrize("row_wise", [False, True])
def test_each_row_or_column_has_its_own_arc(row_wise: bool) -> None:
    deltas = [drawn(seed, 5, 7) for seed in range(2)]
    deltas[1][2] = 0.0
    found = torch.as_tensor(mg.methods.Nuslerp(flatten=False, row_wise=row_wise)(deltas, [1.0, 3.0]))
    whole = mg.methods.Nuslerp()
    axis = 1 if row_wise else 0
    for place in range(deltas[0].shape[axis]):
        alone = whole([delta.select(axis, place) for delta in deltas], [1.0, 3.0])
        torch.testing.assert_close(found.select(axis, place), alone)
    kernels = [drawn(seed, 3, 2, 2, 2) for seed in range(2)]
    merged = mg.methods.Nuslerp(flatten=False, row_wise=row_wise)(kernels)
    assert merged.shape == kernels[0].shape


@pytest.mark.parametrize("given", [{}, {"flatten": False}, {"flatten": False, "row_wise": True}])
def test_adapters_stay_thin_on_the_arc(given: dict[str, bool]) -> None:
    thin = [LowRank(drawn(t, 9, 2), torch.eye(2).double(), drawn(10 + t, 7, 2)) for t in range(2)]
    merged = mg.methods.Nuslerp(**given)(thin)
    assert isinstance(merged, LowRank) and merged.rank == 4
    torch.testing.assert_close(
        merged.dense(torch.float64), mg.methods.Nuslerp(**given)([t.dense(torch.float64) for t in thin])
    )


def test_directions_and_lengths_are_averaged_apart() -> None:
    merged = mg.methods.Multislerp()([vector(3.0, 0.0), vector(0.0, 5.0)])
    torch.testing.assert_close(merged, vector(1.0, 1.0) * 4 / math.sqrt(2))
    summed = mg.methods.Multislerp(normalize_weights=False)([vector(3.0, 0.0), vector(0.0, 5.0)])
    torch.testing.assert_close(summed, vector(1.0, 1.0) * 8 / math.sqrt(2))


def test_opposite_directions_have_the_straight_mean() -> None:
    merged = mg.methods.Multislerp()([vector(3.0, 0.0), vector(-5.0, 0.0)])
    torch.testing.assert_close(merged, vector(-1.0, 0.0))


def test_the_karcher_mean_lies_where_no_step_leads_away() -> None:
    base, deltas = drawn(9, 6, 5), [drawn(seed, 6, 5) for seed in range(3)]
    mean = base + torch.as_tensor(mg.methods.Karcher(max_iter=100, tol=1e-12)(deltas, base=base))
    models = [base + delta for delta in deltas]
    assert float(mean.norm()) == pytest.approx(sum(float(model.norm()) for model in models) / 3, rel=1e-12)

    def spread(point: torch.Tensor) -> float:
        cosines = [float((point * model).sum() / point.norm() / model.norm()) for model in models]
        return sum(math.acos(cosine) ** 2 for cosine in cosines)

    for seed in range(10):
        assert spread(mean + 1e-3 * drawn(100 + seed, 6, 5)) > spread(mean)


def test_fine_tunes_of_one_base_lose_no_digits() -> None:
    base = 100 * drawn(9, 6, 5)
    deltas = [1e-3 * drawn(seed, 6, 5) for seed in range(3)]
    wide = torch.as_tensor(mg.methods.Karcher()(deltas, base=base))
    narrow = torch.as_tensor(mg.methods.Karcher()([delta.float() for delta in deltas], base=base.float()))
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(wide, sum(deltas) / 3, rtol=1e-2, atol=1e-5)


def test_a_model_of_zeros_has_a_length_but_no_direction() -> None:
    base = vector(1.0, 1.0)
    merged = base + torch.as_tensor(mg.methods.Karcher()([vector(2.0, -1.0), -base], base=base))
    torch.testing.assert_close(merged, vector(1.5, 0.0))
    gone = torch.as_tensor(mg.methods.Karcher()([-base, -base], base=base))
    torch.testing.assert_close(base + gone, torch.zeros(2).double())


def test_karcher_blocks_of_a_tensor_are_one_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    base, *deltas = (drawn(seed, 40, 7) for seed in range(4))
    whole = mg.methods.Karcher()(deltas, base=base)
    monkeypatch.setattr("mergeometry.methods.families.on_sphere._ENTRIES", 20)
    torch.testing.assert_close(mg.methods.Karcher()(deltas, base=base), whole)
