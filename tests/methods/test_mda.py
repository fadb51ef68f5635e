"""MDA's frame: what it removes, and which readings of the method it does not fit."""

from __future__ import annotations

import pytest
import torch

from mergeometry.linalg.etf import shared_direction_gram
from mergeometry.methods import registry
from tests.helpers.matrices import draw, relative


@pytest.mark.parametrize("reading", [{}, {"sides": "left"}, {"subspace": "svd"}], ids=str)
def test_the_frame_removes_one_direction(reading: dict[str, str]) -> None:
    taus = [draw(seed, 48, 36) for seed in range(3)]
    plain = registry.build("mda", {"simplex": "none", **reading})(taus)
    framed = registry.build("mda", {"simplex": "directions", **reading})(taus)
    assert isinstance(plain, torch.Tensor) and isinstance(framed, torch.Tensor)
    # K/(K-1) (I - q q^T): all but the factor is of rank one, and lies along one left direction.
    count = 36
    removed = plain.double() - framed.double() * (count - 1) / count
    values = torch.linalg.svdvals(removed)
    assert values[0] > 1e-2 * torch.linalg.svdvals(plain.double())[0]
    assert values[1] < 1e-6 * values[0]


def test_the_frame_of_a_flat_spectrum_removes_a_share_of_one_over_the_square_root_of_its_vertices() -> None:
    for count in (4, 64):
        removed = torch.eye(count).double() - shared_direction_gram(count) * (count - 1) / count
        assert abs(float(removed.norm()) / count**0.5 - 1 / count**0.5) < 1e-12


def test_singular_vectors_of_the_stack_depend_neither_on_the_order_nor_on_chance_where_tasks_are_orthogonal() -> None:
    basis = torch.linalg.qr(draw(0, 40, 12))[0]
    taus = [basis[:, 4 * t : 4 * t + 4] * (3.0 + torch.arange(4) + 5 * t) @ draw(t, 4, 30) for t in range(3)]
    method = registry.build("mda", {"subspace": "svd", "rank": 4})
    merged, turned = method(taus), method(taus[::-1])
    assert isinstance(merged, torch.Tensor) and isinstance(turned, torch.Tensor)
    assert relative(turned, merged) < 1e-8


def test_a_vertex_for_each_task_needs_directions_that_belong_to_one() -> None:
    method = registry.build("mda", {"simplex": "tasks", "subspace": "svd"})
    with pytest.raises(ValueError, match="belong to none; use subspace: polar"):
        method([draw(seed, 9, 7) for seed in range(2)])
