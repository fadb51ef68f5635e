"""The blocks on a matrix's diagonal outside of which it is zero."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, np, torch
from mergeometry.products import product

_WIDTH = 64
"""Columns up to which neighbouring blocks are multiplied as one: smaller products take longer than their arithmetic."""


def diagonal_blocks(matrix: Float[Tensor, "r s"]) -> list[slice]:
    """The smallest blocks, from the first entry to the last; one for all where it is not square, or on another device.

    There, looking for them takes longer than a decomposition of the whole saves.
    """
    size = matrix.shape[0]
    if size != matrix.shape[1] or matrix.device.type != "cpu" or size == 0:
        return [slice(None)]
    there = matrix.numpy() != 0
    there |= there.T
    there |= np.eye(size, dtype=bool)
    # Where no earlier row reaches beyond its own column, a block ends.
    reach = np.maximum.accumulate(size - 1 - there[:, ::-1].argmax(axis=1))
    ends = np.flatnonzero(reach == np.arange(size)) + 1
    return [slice(int(first), int(last)) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


def is_identity(matrix: Float[Tensor, "r s"]) -> bool:
    """Whether it is the identity to the last bit; False on another device, where asking takes longer than a product."""
    size = matrix.shape[0]
    if size != matrix.shape[1] or matrix.device.type != "cpu":
        return False
    return bool((matrix.diagonal() == 1).all()) and int(matrix.count_nonzero()) == size


def times_blocks(matrix: Float[Tensor, "m r"], core: Float[Tensor, "r s"]) -> Float[Tensor, "m s"]:
    """``matrix @ core``, by the blocks that the core falls into."""
    elsewhere = core.device.type != "cpu" or core.requires_grad
    blocks = [slice(None)] if elsewhere or 2 * core.count_nonzero() > core.numel() else _wide(core)
    if len(blocks) == 1:
        return product(matrix, core)
    return torch.cat([product(matrix[:, block], core[block, block]) for block in blocks], dim=1)


def _wide(core: Float[Tensor, "r s"]) -> list[slice]:
    """Its diagonal blocks, neighbours together until they are wide enough."""
    if core.shape[0] <= _WIDTH:
        return [slice(None)]
    blocks: list[slice] = []
    for block in diagonal_blocks(core):
        if blocks and blocks[-1].stop - blocks[-1].start < _WIDTH:
            blocks[-1] = slice(blocks[-1].start, block.stop)
        else:
            blocks.append(block)
    return blocks
