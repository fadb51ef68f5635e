"""The blocks on a matrix's diagonal outside of which it is zero."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, np
from mergeometry.linalg.backend import in_main_memory


def diagonal_blocks(matrix: Float[Tensor, "r s"]) -> list[slice]:
    """The smallest blocks, from the first entry to the last; one for all where it is not square, or on another device.

    There, looking for them takes longer than a decomposition of the whole saves.
    """
    size = matrix.shape[0]
    if size != matrix.shape[1] or not in_main_memory(matrix) or size == 0:
        return [slice(None)]
    there = matrix.numpy() != 0
    there |= there.T
    there |= np.eye(size, dtype=bool)
    # Where no earlier row reaches beyond its own column, a block ends.
    reach = np.maximum.accumulate(size - 1 - there[:, ::-1].argmax(axis=1))
    ends = np.flatnonzero(reach == np.arange(size)) + 1
    return [slice(int(first), int(last)) for first, last in zip([0, *ends[:-1]], ends, strict=True)]
