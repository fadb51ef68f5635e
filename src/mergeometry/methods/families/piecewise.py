"""Merges of one tensor a piece at a time, so that no task vector is ever in memory as a whole."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.backend import in_main_memory
from mergeometry.linalg.sampling import SAMPLED_ELEMENTS, blocks_of, sampled_blocks
from mergeometry.methods.families.accumulator import Accumulator
from mergeometry.methods.families.cost import PIECE_ELEMENTS
from mergeometry.values import Delta


class Piecewise(ABC):
    """The merge of one tensor, whose pieces are passed from the first entries to the last.

    Where the merge of a piece depends on the whole tensor, passes over all pieces come first: as long as `measuring`
    is true, the caller passes every piece to `measure` and then calls `measured`. Task vectors and base are flat and
    stay as they are. What `merge` returns is valid until its next call.
    """

    step: int = PIECE_ELEMENTS
    """Entries of every piece but the last."""

    samples: ClassVar[bool] = False
    """Whether a few entries beforehand, passed to `expect`, can save a pass."""

    tells_finite: ClassVar[bool] = False
    """Whether `all_finite` tells of each piece of the first pass, so that its entries need no test of their own."""

    @property
    def all_finite(self) -> bool:
        """False where the last piece may have held NaN or infinity, in the base or in a task vector.

        The base's would be in every task vector too, each of which is a difference from it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell")

    sums_first: ClassVar[bool] = False
    """Whether `merge` is `merge_sum` of `sum`, which depends on no pass before: it may be kept from that pass."""

    def sum(self, deltas: Sequence[Float[Tensor, " count"]], out: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        """Add the task vectors of a piece into ``out``."""
        raise NotImplementedError(f"{type(self).__name__} does not sum first")

    def merge_sum(self, total: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        """Merge a piece of whose task vectors this is the sum, in place."""
        raise NotImplementedError(f"{type(self).__name__} does not sum first")

    @property
    def measuring(self) -> bool:
        """Whether another pass must come before the merge."""
        return False

    def expect(self, sample: Sequence[Float[Tensor, "blocks length"]], elements: int) -> None:
        """See some of the entries of each task vector before the first pass; they do not change the result."""
        raise NotImplementedError(f"{type(self).__name__} needs no sample")

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        """Take a piece in a pass before the merge."""
        raise NotImplementedError(f"{type(self).__name__} needs no pass before the merge")

    def measured(self) -> None:
        """End a pass."""
        raise NotImplementedError(f"{type(self).__name__} needs no pass before the merge")

    @abstractmethod
    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Merge a piece."""


class Alone(Piecewise):
    """Merges each piece as if it were a tensor of its own: for methods whose pieces are independent.

    ``width`` is the number of entries in a row where rows must stay whole, else 0.
    """

    def __init__(self, begin: Callable[[Tensor | None], Accumulator[Delta]], width: int, elements: int) -> None:
        self._begin, self._width = begin, width
        self.step = elements

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Start a merge, and pass it the piece."""
        shape = (-1, self._width) if self._width else (-1,)
        accumulator = self._begin(None if base is None else base.view(shape))
        for index, delta in enumerate(deltas):
            accumulator.take(index, delta.view(shape))
        merged = accumulator.result()
        assert isinstance(merged, Tensor)
        return merged.reshape(-1)


class Sum(Piecewise):
    """A weighted sum of task vectors, which starts from ``base_share`` times the base where there is one."""

    tells_finite: ClassVar[bool] = True

    def __init__(self, coefficients: Sequence[float], base_share: float | None = None) -> None:
        self._coefficients, self._base_share = coefficients, base_share
        self._total = Scratch()
        self._merged: Tensor | None = None

    @property
    def all_finite(self) -> bool:
        """Whether the merged entries add up to a finite number: NaN and infinity stay so, even times zero."""
        return self._merged is not None and math.isfinite(self._merged.sum().item())

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Add the pieces."""
        total = self._total.like(deltas[0])
        if self._base_share is None:
            total.zero_()
        else:
            assert base is not None
            torch.mul(base, self._base_share, out=total)
        for delta, coefficient in zip(deltas, self._coefficients, strict=True):
            total.add_(delta, alpha=coefficient)
        self._merged = total
        return total


class Scratch:
    """Memory that is used again for every piece: taking it anew costs more than the arithmetic on it."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def like(self, piece: Float[Tensor, " count"], dtype: torch.dtype | None = None) -> Float[Tensor, " count"]:
        """Memory for as many numbers, of the piece's dtype or another, whose values are whatever they were."""
        return self.of(piece.numel(), dtype or piece.dtype, piece.device)

    def of(self, count: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " count"]:
        """Memory for ``count`` numbers, whose values are whatever they were."""
        if self._held is None or self._held.numel() < count or self._held.dtype is not dtype:
            self._held = torch.empty(count, dtype=dtype, device=device)
        return self._held[:count]


def merged_in_pieces(
    piecewise: Piecewise, deltas: Sequence[Float[Tensor, "*shape"]], base: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, "*shape"]:
    """Merge whole tensors that are in memory."""
    flat, under = [delta.reshape(-1) for delta in deltas], None if base is None else base.reshape(-1)
    merged = torch.zeros_like(flat[0])
    if not merged.numel():
        return merged.reshape(deltas[0].shape)
    if piecewise.samples and in_main_memory(merged) and merged.numel() >= SAMPLED_ELEMENTS:
        starts, length = sampled_blocks(merged.numel())
        piecewise.expect([blocks_of(delta, starts, length) for delta in flat], merged.numel())
    step = piecewise.step if in_main_memory(merged) else merged.numel()
    parts = [slice(first, first + step) for first in range(0, merged.numel(), step)]
    while piecewise.measuring:
        for part in parts:
            piecewise.measure([delta[part] for delta in flat], None if under is None else under[part])
        piecewise.measured()
    for part in parts:
        merged[part] = piecewise.merge([delta[part] for delta in flat], None if under is None else under[part])
    return merged.reshape(deltas[0].shape)
