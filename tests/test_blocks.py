"""Blocks on a diagonal, and products by them."""

from __future__ import annotations

import pytest
import torch

from mergeometry.blocks import diagonal_blocks, is_identity, times_blocks
from mergeometry.linalg.polar import polar, stretch
from mergeometry.linalg.svd import singular_core
from mergeometry.values import LowRank
from tests.helpers.matrices import draw


@pytest.mark.parametrize("widths", [(96, 96, 96), (1,) * 200, (70, 3, 1, 130), (300,), (40, 24)])
def test_a_product_by_blocks_is_the_product(widths: tuple[int, ...]) -> None:
    core = torch.block_diag(*(draw(seed, width, width) for seed, width in enumerate(widths)))
    matrix = draw(99, 17, len(core))
    assert len(diagonal_blocks(core)) == len(widths)
    torch.testing.assert_close(times_blocks(matrix, core), matrix @ core, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(times_blocks(matrix, core.mT), matrix @ core.mT, rtol=1e-13, atol=1e-13)


def test_a_core_that_is_not_square_or_mostly_zeros_is_multiplied_as_well() -> None:
    matrix, core = draw(1, 5, 150), torch.zeros(150, 90, dtype=torch.float64)
    core[3, 4] = 2.0
    assert torch.equal(times_blocks(matrix, core), matrix @ core)
    assert torch.equal(times_blocks(matrix, torch.zeros(150, 150).double()), torch.zeros(5, 150).double())


@pytest.mark.parametrize(("rows", "columns"), [(400, 300), (300, 300), (40, 20), (200, 260)])
def test_the_stretch_of_a_matrix_is_its_other_polar_factor(rows: int, columns: int) -> None:
    matrix = draw(7, rows, columns)
    factor, _ = polar(matrix)
    found = stretch(factor, matrix)
    torch.testing.assert_close(found, factor.mT @ matrix, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(factor @ found, matrix, rtol=1e-9, atol=1e-9)
    assert float(torch.linalg.eigvalsh(found)[0]) > -1e-9


def test_the_identity_is_told_from_all_that_is_nearly_it() -> None:
    assert is_identity(torch.eye(5)) and is_identity(torch.eye(0))
    assert not is_identity(torch.eye(5)[:, :4])
    for place, value in (((1, 1), 1 + 1e-7), ((3, 2), 1e-300), ((3, 2), float("nan")), ((4, 4), float("nan"))):
        near = torch.eye(5, dtype=torch.float64)
        near[place] = value
        assert not is_identity(near)


def test_the_identity_between_sides_changes_nothing() -> None:
    core, eye = torch.block_diag(draw(1, 3, 3), draw(2, 2, 2)), torch.eye(5, dtype=torch.float64)
    side = torch.linalg.qr(draw(3, 9, 5))[0]
    own = singular_core(LowRank(eye, core, eye, orthonormal=True))
    other = singular_core(LowRank(side, core, side, orthonormal=True))
    torch.testing.assert_close(own.dense(torch.float64), core)
    torch.testing.assert_close(other.dense(torch.float64), side @ core @ side.mT)
    assert torch.equal(own.core, other.core)
    matrix = draw(4, 5, 5)
    assert torch.equal(stretch(eye, matrix), matrix)
