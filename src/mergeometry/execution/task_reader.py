"""Reads what one tensor task needs, hashes each byte once on request, and refuses values that are not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mergeometry.deferred import Shaped, Tensor, torch
from mergeometry.digests import Algorithm, Hash
from mergeometry.dtypes import compute_dtype
from mergeometry.errors import NumericalError
from mergeometry.execution.directions_store import DirectionsStore
from mergeometry.execution.finite import surely_finite, tally
from mergeometry.execution.known_directions import KnownDirections
from mergeometry.linalg.recall import NOTHING, Recall
from mergeometry.sink.writer import tensor_bytes
from mergeometry.sources import AdapterDelta, DenseUpdate, TensorInfo, read_factors
from mergeometry.values import LowRank


class Reads(Protocol):
    """Where tensors come from: `TensorReader` is the one for files. What it returns belongs to the caller."""

    def read(self, info: TensorInfo, /) -> Tensor:
        """The whole tensor in its own dtype and shape."""
        ...

    def read_range(self, info: TensorInfo, first_element: int, last_element: int, /) -> Tensor:
        """Elements from the first up to, not including, the last, as one row."""
        ...

    def read_into(self, info: TensorInfo, first_element: int, last_element: int, out: Tensor, /) -> None:
        """The same, into a row of the tensor's dtype that is in main memory."""
        ...


class TaskReader:
    """One task's view of its inputs: reads by position, checks of all values, digests of all bytes read.

    Without an ``algorithm`` nothing is hashed.
    """

    def __init__(
        self,
        reader: Reads,
        labels: Sequence[str],
        algorithm: Algorithm | None = None,
        directions: DirectionsStore | None = None,
    ) -> None:
        self._reader = reader
        self._labels = labels
        self.algorithm: Algorithm | None = algorithm
        self._hashed: dict[tuple[str, str], tuple[Hash, int]] = {}
        """(model label, name in the file) to the hash of what was read, and where in the file that ends."""
        self.recall: Recall = NOTHING if directions is None else KnownDirections(directions)
        """What the merge asks for decompositions."""

    @property
    def digests(self) -> dict[tuple[str, str], str]:
        """(model label, name in the file) to the digest of the tensor's bytes."""
        return {key: hashed.digest for key, (hashed, _) in self._hashed.items()}

    def hash(self, label: str, info: TensorInfo, start: int, stored: Tensor) -> None:
        """Hash what was read from ``start`` on; tensors are read from their first bytes to their last, or again."""
        if self.algorithm is None:
            return
        hashed, reached = self._hashed.get((label, info.name)) or (Hash(self.algorithm), info.start)
        if start == reached:
            hashed.update(data := tensor_bytes(stored))
            self._hashed[label, info.name] = hashed, reached + len(data)

    def raw(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor as it is stored."""
        tensor = self._reader.read(info)
        self.hash(label, info, info.start, tensor)
        return tensor

    @property
    def device(self) -> torch.device:
        """Where tensors are computed with."""
        return torch.device("cpu")

    def stored(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor as it is stored, where it is computed with."""
        return self.raw(label, info)

    def expect(self, label: str, info: TensorInfo) -> None:
        """Hear what `numbers` will be asked for next."""

    def close(self) -> None:
        """Read nothing any more."""

    def numbers(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor in the dtype that arithmetic runs in.

        Raises:
            NumericalError: an entry is NaN or infinite.
        """
        return self.checked(label, info, self.stored(label, info).to(compute_dtype(info.code)))

    def finite(self, label: str, info: TensorInfo, stored: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """A tensor that is kept as it is, in the dtype that arithmetic runs in; complex numbers and integers stay.

        Raises:
            NumericalError: an entry is NaN or infinite.
        """
        values = stored.to(compute_dtype(info.code)) if stored.is_floating_point() else stored
        return self.checked(label, info, values)

    def low_rank(self, label: str, delta: AdapterDelta) -> LowRank:
        """An adapter's update as thin factors, with its scaling in the core.

        Raises:
            NumericalError: an entry of a factor is NaN or infinite.
        """
        left, right = read_factors(lambda info: self.stored(label, info), delta)
        self.checked(label, delta.left, left)
        self.checked(label, delta.right, right)
        core = torch.eye(delta.rank, dtype=left.dtype, device=left.device) * delta.scaling
        return LowRank(left, core, right.mT)

    def dense(self, label: str, update: DenseUpdate, base: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """An adapter's update of the base's tensor, in the layout in which the base stores it.

        Raises:
            NumericalError: an entry of a tensor of the adapter is NaN or infinite.
        """
        return update.of(lambda info: self.numbers(label, info), base)

    def label(self, index: int) -> str:
        """The label of the model at this position of the recipe."""
        return self._labels[index]

    def checked(self, label: str, info: TensorInfo, values: Tensor) -> Tensor:
        """Return the values if every one is finite."""
        numbers = values.is_floating_point() or values.is_complex()
        if numbers and not surely_finite(values):
            bad = int((~torch.isfinite(values)).sum())
            if bad:
                raise NumericalError(
                    f"{tally(bad, values.numel(), info.elements)} values are NaN or infinite",
                    model=label,
                    file=info.file,
                    tensor=info.name,
                    hint="the checkpoint is damaged or its training diverged; merging would spread it",
                )
        return values


class ChunkedInput:
    """A dense tensor read in chunks of elements, hashed and checked as they are read."""

    def __init__(self, inputs: TaskReader, reader: Reads, label: str, info: TensorInfo) -> None:
        self._inputs, self._reader, self._label, self._info = inputs, reader, label, info

    def read(self, first: int, last: int) -> Shaped[Tensor, " count"]:
        """Elements ``first`` to ``last`` (exclusive) in the dtype that arithmetic runs in."""
        return self._inputs.checked(self._label, self._info, self.raw(first, last).to(compute_dtype(self._info.code)))

    def raw(self, first: int, last: int) -> Shaped[Tensor, " count"]:
        """Elements ``first`` to ``last`` (exclusive) as they are stored."""
        stored = self._reader.read_range(self._info, first, last)
        self._inputs.hash(self._label, self._info, self._info.start + first * stored.itemsize, stored)
        return stored
