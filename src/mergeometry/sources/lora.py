"""Low-rank updates as PEFT stores them, in the orientation in which the base stores its weight.

| module | A | B | the base's weight | update as stored |
| --- | --- | --- | --- | --- |
| Linear | (r, in) | (out, r) | (out, in) | `scaling * B @ A` |
| Conv1D (`fan_in_fan_out`) | (r, in) | (out, r) | (in, out) | `scaling * A.T @ B.T` |
| Embedding | (r, rows) | (dim, r) | (rows, dim) | `scaling * A.T @ B.T` |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mergeometry.deferred import torch
from mergeometry.dtypes import compute_dtype
from mergeometry.sources.tensors import TensorInfo


@dataclass(frozen=True, slots=True)
class AdapterDelta:
    """The low-rank update of one weight, `scaling * left @ right` in the orientation in which the base stores it.

    ``left`` and ``right`` are the tensors on disk; with ``transposed`` each is to be transposed after reading.
    """

    module: str
    left: TensorInfo
    right: TensorInfo
    scaling: float
    transposed: bool
    embedding: bool

    @property
    def weight(self) -> str:
        """Name of the weight that is updated."""
        return f"{self.module}.weight"

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.left, self.right)

    @property
    def rank(self) -> int:
        """Columns of left and rows of right."""
        return self.left.shape[0 if self.transposed else 1]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the update, which is that of the base's weight as stored."""
        if self.transposed:
            return self.left.shape[1], self.right.shape[0]
        return self.left.shape[0], self.right.shape[1]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return shape == self.shape

    def flipped(self) -> AdapterDelta:
        """Return the same update for a base that stores the weight the other way round.

        PEFT decides the orientation by the module's class, while the settings hold one flag for all modules: a
        caller that knows the base's layout corrects it here.

        Raises:
            ValueError: the module is an embedding, which has only one orientation.
        """
        if self.embedding:
            raise ValueError(f"the embedding {self.module!r} has one orientation only")
        return replace(self, left=self.right, right=self.left, transposed=not self.transposed)


def read_factors(read: Callable[[TensorInfo], torch.Tensor], delta: AdapterDelta) -> tuple[torch.Tensor, torch.Tensor]:
    """Read an update's factors as left (m, r) and right (r, n) in the dtype of computation, scaling not applied.

    Raises:
        SourceError: the file is no longer what its header said.
    """
    dtype = torch.promote_types(compute_dtype(delta.left.code), compute_dtype(delta.right.code))
    left, right = (read(info).to(dtype) for info in (delta.left, delta.right))
    if delta.transposed:
        left, right = left.T.contiguous(), right.T.contiguous()
    return left, right
