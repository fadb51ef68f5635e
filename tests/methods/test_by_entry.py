"""Methods that decide entry by entry, on task vectors where their answer can be read off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError
from tests.helpers import models

ONE, OTHER = torch.tensor([1.0, -3.0, 0.0, 2.0, 4.0]), torch.tensor([-2.0, 1.0, 0.0, -2.0, 0.0])


def test_the_furthest_move_decides() -> None:
    assert torch.as_tensor(mg.methods.Magmax()([ONE, OTHER])).tolist() == [-2, -3, 0, 2, 4]
    assert torch.as_tensor(mg.methods.Magmax()([OTHER, ONE])).tolist() == [-2, -3, 0, 2, 4]
    assert torch.as_tensor(mg.methods.Magmax()([ONE, OTHER], [1.0, -4.0])).tolist() == [8, -4, 0, 8, 4]


def test_an_entry_moves_by_no_more_than_t() -> None:
    assert torch.as_tensor(mg.methods.Nearswap(t=2.0)([ONE])).tolist() == [1, -2, 0, 2, 2]
    with pytest.raises(ValueError, match="towards one model, got 2"):
        mg.methods.Nearswap()([ONE, OTHER])


def test_what_several_changed_is_averaged_and_what_one_changed_stays() -> None:
    assert torch.as_tensor(mg.methods.Ram()([ONE, OTHER])).tolist() == [-0.5, -1, 0, 0, 4]
    assert torch.as_tensor(mg.methods.Ram(epsilon=1.5)([ONE, OTHER])).tolist() == [-2, -3, 0, 0, 4]


def test_a_tasks_own_entries_are_amplified_by_what_it_shares() -> None:
    # The first task has one entry of its own and shares three; the second has none of its own.
    method = mg.methods.RamplusTL(r=0.5, alpha=2.0)
    assert torch.as_tensor(method([ONE, OTHER])).tolist() == [-0.5, -1, 0, 0, 4 * (1 + 0.5 * 2)]
    method = mg.methods.RamplusTL(r=0.5, alpha=9.0)
    assert torch.as_tensor(method([ONE, OTHER])).tolist() == [-0.5, -1, 0, 0, 4 * (1 + 0.5 * 3)]


def test_fusion_moves_the_outstanding_entries_alone() -> None:
    base = torch.zeros(4, 50)
    delta = 0.01 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    delta[1, 7], delta[3, 2] = 5.0, -4.0
    merged = torch.as_tensor(mg.methods.ArceeFusion()([delta], base=base))
    assert merged[1, 7] == 5.0 and merged[3, 2] == -4.0
    assert not merged[0].any() and not merged[2].any(), "rows that hardly moved were taken over"
    assert torch.equal(merged[merged != 0], delta[merged != 0])


def test_fusion_in_blocks_of_rows_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    base, delta = (torch.randn(40, 7, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    whole = mg.methods.ArceeFusion()([delta], base=base)
    monkeypatch.setattr("mergeometry.methods.arcee_fusion._ENTRIES", 20)
    assert torch.equal(torch.as_tensor(mg.methods.ArceeFusion()([delta], base=base)), torch.as_tensor(whole))


@pytest.mark.parametrize("method", ["nearswap", "arcee_fusion", "nuslerp"])
def test_other_numbers_of_models_are_refused_before_anything_is_read(tmp_path: Path, method: str) -> None:
    with pytest.raises(MismatchError, match="the method cannot merge these tensors"):
        mg.make_plan({**models.write_family(tmp_path, count=3), "method": method})


def test_a_sum_that_is_not_divided_multiplies_the_base_too(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    entries = [{"path": place, "weight": 0.7} for place in family["models"]]
    method = {"name": "average", "normalize": False}
    mg.merge({**family, "models": entries, "method": method}, tmp_path / "out", workers=1)
    one, other = (models.loaded(Path(place)) for place in family["models"])
    for name, tensor in models.loaded(tmp_path / "out").items():
        torch.testing.assert_close(tensor, 0.7 * one[name] + 0.7 * other[name])
    with pytest.raises(ValueError, match=r"needs the base's weights: call method\(deltas, base=weights\)"):
        mg.methods.Average(normalize=False)([ONE, OTHER])
