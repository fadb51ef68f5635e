"""Writes finished tensors straight to their places in the staged files; used inside the workers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mergeometry.deferred import torch
from mergeometry.digests import DEFAULT, Algorithm, Hash, algorithm_of, digest_of
from mergeometry.dtypes import codes, item_size
from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem, read_range, unsupported
from mergeometry.sink.layout import OutputTensor, Slot, lay_out
from mergeometry.sink.past_cache import PastCache


class SlotWriter:
    """Writes tensors to slots of the staged folder, keeping at most ``open_files`` files open.

    Raises:
        OutputError: from every method, the disk is full or fails; the error names the file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        algorithm: Algorithm = DEFAULT,
        open_files: int = 16,
        files: FileSystem | None = None,
    ) -> None:
        self._folder = folder
        self._algorithm: Algorithm = algorithm
        self._limit = max(2, open_files)  # a file may be open in both ways
        self._files = files or FileSystem()
        self._descriptors: OrderedDict[tuple[str, bool], int] = OrderedDict()
        self._past_cache = PastCache(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, slot: Slot, tensor: torch.Tensor) -> str:
        """Write a whole tensor, already in the output's dtype, and return the digest of its bytes."""
        data = tensor_bytes(tensor)
        if codes().get(tensor.dtype) != slot.code or len(data) != slot.nbytes:
            raise OutputError(
                f"a tensor of {tensor.dtype} and {len(data)} bytes was given where the layout has "
                f"{slot.code} and {slot.nbytes} bytes",
                file=slot.file,
            )
        self._write(slot, data, slot.start)
        return digest_of(data, self._algorithm)

    def write_range(self, slot: Slot, first_element: int, tensor: torch.Tensor) -> None:
        """Write a flat part of a tensor, from ``first_element`` on; hashing is left to the caller."""
        data = tensor_bytes(tensor)
        start = first_element * item_size(slot.code)
        if codes().get(tensor.dtype) != slot.code or start < 0 or start + len(data) > slot.nbytes:
            raise OutputError(
                f"{len(data)} bytes of {tensor.dtype} from element {first_element} on do not fit where the layout "
                f"has {slot.code} and {slot.nbytes} bytes",
                file=slot.file,
            )
        self._write(slot, data, slot.start + start)

    def digest(self, slot: Slot) -> str:
        """Return the digest of what a slot holds, for tensors that were written in parts."""
        return slot_digest(self._folder, slot, self._algorithm)

    def close(self) -> None:
        """Close all files."""
        self._past_cache.close()
        while self._descriptors:
            (name, _), descriptor = self._descriptors.popitem()
            with explained("a staged file cannot be closed", self._folder / name):
                self._files.close(descriptor)

    def _write(self, slot: Slot, data: memoryview, start: int) -> None:
        with explained("a tensor cannot be written", self._folder / slot.file, needed=len(data)):
            cached = self._descriptor(slot.file)
            direct = self._direct(slot.file) if self._past_cache.takes(len(data)) else None
            if direct is None:
                self._files.write_at(cached, data, start)
            else:
                self._past_cache.write(direct, cached, data, start)

    def _direct(self, name: str) -> int | None:
        """A descriptor past the page cache; None where the file system has none."""
        try:
            return self._descriptor(name, direct=True)
        except OSError as error:
            if not unsupported(error):
                raise
            self._past_cache.refuse()
            return None

    def _descriptor(self, name: str, *, direct: bool = False) -> int:
        key = name, direct
        if key not in self._descriptors:
            if len(self._descriptors) >= self._limit:
                self._files.close(self._descriptors.popitem(last=False)[1])
            self._descriptors[key] = self._files.open(self._folder / name, direct=direct)
        self._descriptors.move_to_end(key)
        return self._descriptors[key]


def slot_digest(folder: Path, slot: Slot, algorithm: Algorithm) -> str:
    """Return the digest of a slot's bytes as they stand in ``folder``; ``OutputError`` if they cannot be read."""
    hashed = Hash(algorithm)
    with explained("a staged file cannot be read", folder / slot.file):
        for piece in read_range(folder / slot.file, slot.start, slot.nbytes):
            hashed.update(piece)
    return hashed.digest


def slot_holds(folder: Path, slot: Slot, digest: object) -> bool:
    """Whether a slot's bytes have this digest, which may be any JSON value; ``OutputError`` if they cannot be read."""
    algorithm = algorithm_of(digest) if isinstance(digest, str) else None
    return algorithm is not None and slot_digest(folder, slot, algorithm) == digest


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """View a tensor's bytes in the file's order, without a copy if it is contiguous and in main memory."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Encode a few small tensors, such as a task's head, as a safetensors file; ``OutputError`` as from ``lay_out``."""
    planned = [OutputTensor(name, codes()[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()]
    return b"".join(safetensors_pieces(planned, tensors.__getitem__, metadata)[1])


def safetensors_pieces(
    tensors: Sequence[OutputTensor], value: Callable[[str], torch.Tensor], metadata: Mapping[str, str] | None = None
) -> tuple[int, Iterator[bytes | memoryview]]:
    """Return the size and the pieces of a safetensors file: its header, then each tensor, whose ``value`` is asked for.

    Raises:
        OutputError: as from ``lay_out``.
    """
    layout = lay_out(tensors, shard_size=1 << 62, metadata=metadata)

    def pieces() -> Iterator[bytes | memoryview]:
        yield layout.files[0].header
        for name in sorted(layout.slots, key=lambda name: (layout.slots[name].start, layout.slots[name].nbytes)):
            yield tensor_bytes(value(name))

    return layout.files[0].size, pieces()
