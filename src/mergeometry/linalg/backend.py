"""Where tensors are decides who decomposes them: LAPACK in main memory, torch on any other device."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg import lapack, on_device

_FAR = 1 << 26
"""Entries worked on at a time on another device, where many small steps take longer than the arithmetic in them."""


@runtime_checkable
class Backend(Protocol):
    """The decompositions that everything else is made of; all in float64."""

    def thin_svd(
        self, matrix: Float[Tensor, "m n"]
    ) -> tuple[Float[Tensor, "m q"], Float[Tensor, " q"], Float[Tensor, "n q"]]:
        """``matrix = U diag(s) V.T``, values descending."""
        ...

    def symmetric_eigen(
        self, gram: Float[Tensor, "n n"], count: int
    ) -> tuple[Float[Tensor, " count"], Float[Tensor, "n count"]]:
        """Largest eigenvalues, descending, and eigenvectors; only the upper triangle is read."""
        ...

    def symmetric_spectrum(
        self, gram: Float[Tensor, "n n"], count: int
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n count"]]:
        """Every eigenvalue, descending, and the eigenvectors of the largest ``count``."""
        ...

    def gram(self, matrix: Float[Tensor, "m n"]) -> Float[Tensor, "n n"]:
        """Upper triangle of ``matrix.T @ matrix``; what is below it means nothing."""
        ...

    def times_symmetric(self, matrix: Float[Tensor, "m n"], symmetric: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
        """``matrix @ symmetric``; only the upper triangle of the latter is read."""
        ...

    def solve_gram(self, target: Float[Tensor, "m n"], gram: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
        """``target gram^+``; only the upper triangle is read."""
        ...


def backend_of(tensor: Tensor) -> Backend:
    """The backend of a tensor's device."""
    return lapack if in_main_memory(tensor) else on_device


def in_main_memory(tensor: Tensor) -> bool:
    """Whether NumPy and LAPACK can take the tensor as it is."""
    return tensor.device.type == "cpu"


def entries_together(tensor: Tensor, entries: int) -> int:
    """How many entries to work on at a time: ``entries`` where a processor's cache must hold them, or else many."""
    return entries if in_main_memory(tensor) else _FAR
