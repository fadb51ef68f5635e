"""Decomposes several task vectors of one shape together, on a device that is not busy with one of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mergeometry.deferred import Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.backend import in_main_memory
from mergeometry.linalg.on_device import gram, symmetric_eigen
from mergeometry.linalg.svd import RANK_TOLERANCE, fix_signs, top_directions
from mergeometry.values import Delta, Directions

_SIDE = 1024
"""Shorter side up to which a solver leaves most of a device idle."""

_ENTRIES = 1 << 27
"""Entries of all matrices of a batch together, of each of which there are some copies in float64."""


class DeviceMemoryWarning(UserWarning):
    """A device had too little memory for what was computed on it; the run record keeps these."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had too little memory, for a tensor or for what a solver needs beside it."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


def joins_batch(delta: Delta) -> bool:
    """Whether a task vector should wait for others of its shape: a small dense one on another device."""
    return isinstance(delta, Tensor) and not in_main_memory(delta) and min(delta.shape) <= _SIDE


def top_directions_of(deltas: Sequence[Delta], counts: Sequence[int]) -> list[Directions]:
    """What `top_directions` gives for each; dense ones of one shape in batches, as large as the device's memory allows.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
        torch.OutOfMemoryError: the device has too little memory even for one.
    """
    shapes = {tuple(delta.shape) for delta in deltas}
    matrices = [delta for delta in deltas if isinstance(delta, Tensor) and joins_batch(delta)]
    if len(matrices) < len(deltas) or len(shapes) > 1 or len(deltas) < 2 or 0 in deltas[0].shape:
        return [top_directions(delta, count) for delta, count in zip(deltas, counts, strict=True)]
    size, found = max(1, _ENTRIES // matrices[0].numel()), []
    while len(found) < len(matrices):
        part = slice(len(found), len(found) + size)
        try:
            found += _decomposed(matrices[part], counts[part])
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size = min(size, len(matrices)) // 2 or 1
            torch.cuda.empty_cache()
            warnings.warn(
                f"the device's memory holds {size} matrices at a time, and not as many as planned",
                DeviceMemoryWarning, stacklevel=2,
            )  # fmt: skip
    return found


def _decomposed(matrices: Sequence[Tensor], counts: Sequence[int]) -> list[Directions]:
    wide = matrices[0].shape[0] < matrices[0].shape[1]
    exact = torch.stack([(matrix.mT if wide else matrix).double() for matrix in matrices])
    largest = exact.abs().amax(dim=(1, 2))
    if not bool(torch.isfinite(largest).all()):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    # Squares of very large or small entries would leave float64's range.
    exact = exact / torch.where(largest > 0, largest, 1.0)[:, None, None]
    count = min(max(counts), exact.shape[2])
    eigenvalues, right = symmetric_eigen(gram(exact), count)
    values = eigenvalues.clamp(min=0).sqrt()
    kept = (values > RANK_TOLERANCE * values[:, :1]).sum(dim=1).cpu().numpy()
    left = exact @ right / torch.where(values > 0, values, 1.0)[:, None, :]
    values = values * largest[:, None]
    found = []
    for place, wanted in enumerate(counts):
        some = min(wanted, int(kept[place]))
        one, other = left[place, :, :some], right[place, :, :some]
        sides = (other, one) if wide else (one, other)
        found.append(fix_signs(Directions(sides[0], values[place, :some], sides[1])))
    return found
