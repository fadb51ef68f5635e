"""Which entries breadcrumbs, DELLA and SCE keep, on task vectors where it can be read off."""

from __future__ import annotations

import pytest
import torch

import mergeometry as mg
from mergeometry.linalg.selection import without_tails
from mergeometry.linalg.streams import dropped_by_rank, stream_key
from mergeometry.methods import registry

LADDER = torch.arange(1.0, 11.0)


@pytest.mark.parametrize(
    ("density", "gamma", "kept"),
    [
        (0.5, 0.2, [4, 5, 6, 7, 8]),
        (0.5, 0.0, [6, 7, 8, 9, 10]),
        (0.9, 0.3, [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # both shares exceed one: one outlier can go
        (0.01, 0.2, [8]),
        (1.0, 0.3, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (0.29, 0.29, [7, 8]),
    ],
)
def test_outliers_go_first_then_the_smallest(density: float, gamma: float, kept: list[float]) -> None:
    turned = LADDER * torch.tensor([1.0, -1.0]).repeat(5)
    found = without_tails(turned, density, gamma)
    assert found[found != 0].abs().tolist() == kept
    assert torch.equal(turned.abs(), LADDER), "the values were changed"


def test_ties_with_the_last_kept_stay() -> None:
    values = torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    assert without_tails(values, 3 / 7, 1 / 7).tolist() == [0, 2, 2, 2, 3, 3, 0]


def test_breadcrumbs_add_what_agrees() -> None:
    one, other = torch.tensor([1.0, 5.0, -3.0, 9.0]), torch.tensor([2.0, 5.0, 4.0, -9.5])
    merged = mg.methods.BreadcrumbsTies(density=0.75, gamma=0.25)([one, other])
    # Kept: 1, 5, -3 of the first, 2, 5, 4 of the second; the first's -3 is against the sum.
    assert torch.as_tensor(merged).tolist() == [3.0, 10.0, 4.0, 0.0]
    apart = mg.methods.BreadcrumbsTies(density=0.75, gamma=0.25)([one, other], [1.0, -1.0])
    assert torch.as_tensor(apart).tolist() == [-2.0, 0.0, -7.0, 0.0]


def test_larger_entries_are_kept_more_often() -> None:
    rows = torch.arange(1.0, 6.0).repeat(200_000, 1)
    kept = dropped_by_rank(rows, stream_key(0, "w", "a"), 0.5, 0.2)
    chances = torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7])
    torch.testing.assert_close((kept != 0).float().mean(dim=0), chances, atol=0.005, rtol=0)
    torch.testing.assert_close(kept.max(dim=0).values, rows[0] / chances)
    torch.testing.assert_close(kept.double().mean(dim=0).float(), rows[0], rtol=0.02, atol=0)


@pytest.mark.parametrize("shape", [(), (6,), (4, 3), (2, 3, 2, 2), (5, 1)])
def test_ranks_are_taken_in_rows_of_outputs(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    key = stream_key(0, "w", "a")
    rows = values.reshape(values.shape[0] if len(shape) > 1 else 1, -1)
    assert torch.equal(dropped_by_rank(values, key, 0.5, 0.2), dropped_by_rank(rows, key, 0.5, 0.2).reshape(shape))


@pytest.mark.parametrize("size", [28, 21, 1])
def test_blocks_of_rows_are_ranked_alike(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    values = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    whole = dropped_by_rank(values, 3, 0.5, 0.2)
    monkeypatch.setattr("mergeometry.linalg.streams._ROWS", size)
    assert torch.equal(dropped_by_rank(values, 3, 0.5, 0.2), whole)


@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_impossible_probabilities_are_refused(method: str) -> None:
    built = registry.build(method, {"density": 0.1})
    with pytest.raises(ValueError, match=r"density 0\.1 and epsilon 0\.15 give probabilities from -0\.05 to 0\.25"):
        built([torch.ones(3, 2)] * 2)
    registry.build(method, {"density": 1.0})([torch.ones(3, 2)] * 2)


def test_sce_selects_where_models_differ_most() -> None:
    one, other = torch.tensor([4.0, 1.0, 3.0, 5.0]), torch.tensor([4.0, 2.0, -1.0, 6.0])
    everything = torch.as_tensor(mg.methods.Sce()([one, other]))
    shares = torch.tensor([51.0, 57.0]) / 108
    expected = [4.0, float(shares @ torch.tensor([1.0, 2.0])), 3.0, float(shares @ torch.tensor([5.0, 6.0]))]
    torch.testing.assert_close(everything, torch.tensor(expected))
    # Of the three entries that differ, a third: the third, by 4; there only the first agrees with the sum.
    third = torch.as_tensor(mg.methods.Sce(select_topk=1 / 3)([one, other]))
    torch.testing.assert_close(third, torch.tensor([0.0, 0.0, 3.0, 0.0]))
