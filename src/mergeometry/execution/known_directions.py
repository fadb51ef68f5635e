"""Directions and polar factors of one tensor's merge, taken from a folder where an earlier merge left them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.execution.directions_store import DamagedError, DirectionsStore
from mergeometry.linalg.backend import in_main_memory
from mergeometry.linalg.recall import NOTHING, Recall
from mergeometry.sink.writer import tensor_bytes
from mergeometry.values import Delta, Directions

LEAST_SIDE = 128
"""Shorter side of a matrix from which a file is read in less time than its decomposition takes."""


class DirectionsWarning(UserWarning):
    """Directions could not be kept, or what was kept is damaged; the run record keeps these."""


class KnownDirections:
    """A `Recall` for one tensor: a key is the digest of all that the result depends on, the numbers among it.

    What is not known is computed and kept; the same bits come either way.
    """

    def __init__(self, store: DirectionsStore) -> None:
        self.store = store
        self._keys: list[str] = []
        self.asked, self.found = 0, 0
        """How many decompositions the merge asked for, and how many were known."""

    def top_directions(self, delta: Delta, count: int) -> Directions:
        """The leading triplets of a task vector; adapters and small matrices are decomposed each time."""
        if not isinstance(delta, Tensor) or not _is_worth(delta) or not 0 < count <= min(delta.shape):
            return NOTHING.top_directions(delta, count)
        m, n = delta.shape
        key = self._key("directions", delta, count)
        made: list[Directions] = []

        def compute() -> list[Tensor]:
            made.append(NOTHING.top_directions(delta, count))
            one = made[0]
            return [one.left, one.values[None, :], one.right]

        left, values, right = self._recalled(key, [(m, count), (1, count), (n, count)], compute)
        return made[0] if made else Directions(left, values[0], right)

    def decorrelated(self, matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], bool]:
        """The polar factor of directions side by side."""
        if not _is_worth(matrix):
            return NOTHING.decorrelated(matrix)
        m, n = matrix.shape
        key = self._key("polar", matrix)

        def compute() -> list[Tensor]:
            factor, orthonormal = NOTHING.decorrelated(matrix)
            return [factor, torch.full((1, 1), float(orthonormal), dtype=torch.float64)]

        factor, orthonormal = self._recalled(key, [(m, n), (1, 1)], compute)
        return factor, bool(orthonormal[0, 0])

    def spectrum(self, delta: Delta) -> Float[Tensor, " k"]:
        """The singular values of a matrix; those of adapters and small matrices are computed each time."""
        if not isinstance(delta, Tensor) or not _is_worth(delta):
            return NOTHING.spectrum(delta)
        key = self._key("spectrum", delta)
        return self._recalled(key, [(1, min(delta.shape))], lambda: [NOTHING.spectrum(delta)[None, :]])[0][0]

    def note(self, name: str) -> None:
        """Note under a name what was asked for since the last note, so that a plan can say that it is known."""
        keys, self._keys = self._keys, []
        if keys and self.store.noted(name) != keys:
            try:
                self.store.note(name, keys)
            except OSError as error:
                _warn(f"what is kept of directions is not noted: {error.strerror or error}")

    def _key(self, kind: str, matrix: Tensor, count: int = 0) -> str:
        rows = matrix.is_contiguous()
        lies = matrix if rows else matrix.mT
        key = self.store.key(f"{kind} {matrix.dtype} {rows}", (*matrix.shape, count), tensor_bytes(lies))
        self._keys.append(key)
        self.asked += 1
        return key

    def _recalled(self, key: str, shapes: list[tuple[int, int]], compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        try:
            found = self.store.read(key, shapes)
        except (DamagedError, OSError) as error:
            _warn(f"kept directions were computed again, since their file is damaged: {error}")
            found = None
        if found is not None:
            self.found += 1
            return found
        parts = compute()
        if all(part.dtype == torch.float64 and _is_flat(part) for part in parts):
            try:
                self.store.write(key, parts)
            except OSError as error:
                _warn(f"directions are not kept: {error.strerror or error}")
        return parts


def _is_worth(matrix: Tensor) -> bool:
    return matrix.dim() == 2 and min(matrix.shape) >= LEAST_SIDE and in_main_memory(matrix) and _is_flat(matrix)


def _is_flat(matrix: Tensor) -> bool:
    """Whether it is one piece of memory, row by row or column by column."""
    return matrix.is_contiguous() or matrix.mT.is_contiguous()


def _warn(text: str) -> None:
    warnings.warn(text, DirectionsWarning, stacklevel=4)


def recalled(recall: Recall) -> tuple[int, int]:
    """How many decompositions were asked for where they may be known, and how many were."""
    return (recall.asked, recall.found) if isinstance(recall, KnownDirections) else (0, 0)
