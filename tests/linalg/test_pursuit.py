"""Combinations of given points: the nearest by the formula, and what matching pursuit must find."""

from __future__ import annotations

import torch

from mergeometry.linalg.pursuit import matching_pursuit, nearest_points


def random(rows: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_nearest_points_have_shares_by_their_cosines() -> None:
    targets, points = random(5, 12, 0), random(40, 12, 1)
    places, shares = nearest_points(targets, points, 3)
    for target, found, share in zip(targets, places, shares, strict=True):
        cosines = torch.stack([target @ point / (target.norm() * point.norm()) for point in points])
        order = cosines.argsort(descending=True)[:3]
        assert torch.equal(found, order)
        torch.testing.assert_close(share, cosines[order] / cosines[order].sum())
    places, shares = nearest_points(-points[:1].abs(), points.abs(), 4)
    assert torch.equal(shares, torch.full((1, 4), 0.25, dtype=torch.float64))


def test_matching_pursuit_finds_a_sparse_sum_and_its_steps_are_those_of_the_paper() -> None:
    points = random(30, 60, 2)
    truth = torch.zeros(4, 30, dtype=torch.float64)
    for row, places in enumerate(([1, 7, 20], [3, 4, 5], [29, 0, 11], [8, 9, 25])):
        truth[row, places] = torch.tensor([2.0, -1.5, 0.8], dtype=torch.float64)
    places, coefficients = matching_pursuit(truth @ points, points, 3)
    torch.testing.assert_close(torch.zeros_like(truth).scatter(1, places, coefficients), truth)
    target = random(1, 60, 3)
    places, coefficients = matching_pursuit(target, points, 4)
    left, chosen = target[0], list[int]()
    for _ in range(4):
        scores = [0.0 if n in chosen else abs(float(left @ p / p.norm())) for n, p in enumerate(points)]
        chosen.append(max(range(30), key=scores.__getitem__))
        basis = points[chosen]
        expected = torch.linalg.solve(basis @ basis.T, basis @ target[0])
        left = target[0] - expected @ basis
    assert places[0].tolist() == chosen
    torch.testing.assert_close(coefficients[0], expected)
