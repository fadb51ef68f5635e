"""One small complete run of the sink, and a file system that dies, fails or records."""

import errno
import os
from pathlib import Path

import torch

from mergeometry.sink import FileSystem, OutputTensor, RunRecord, SlotWriter, Staging, Totals, lay_out
from mergeometry.sink.record import encode_record

TENSORS = {f"layer.{place}.weight": torch.full((4, 3 + place), float(place + 1)) for place in range(6)}
LAYOUT = lay_out([OutputTensor(name, "F32", tuple(value.shape)) for name, value in TENSORS.items()], shard_size=200)
SIDECARS = {"config.json": b"{}\n", "1_Pooling/config.json": b'{"pooling": true}\n'}


def record_of(*names: str) -> bytes:
    """The run record of an output that consists of these files."""
    record = RunRecord({}, "", "", {}, (), (), (), Totals(0.0, 0, 0, 0), files=(*names, "mergeometry.json"))
    return encode_record(record)


OLD_NAMES = ("model.safetensors", "1_Pooling/config.json")
OLD = {**dict.fromkeys(OLD_NAMES, b"old"), "mergeometry.json": record_of(*OLD_NAMES)}


def run(target, files, *, overwrite=False, resume=False, factor=1.0, notes=None):
    """Write everything; return the names of the tensors that were computed, and add what publish() tells to notes."""
    computed = []
    with Staging(target, overwrite=overwrite, resume=resume, files=files) as staging:
        staging.create(LAYOUT, "same recipe", extra_bytes=100)
        done = staging.completed()
        with SlotWriter(staging.folder, open_files=1, files=files) as writer:
            for name, tensor in TENSORS.items():
                if name not in done:
                    computed.append(name)
                    sha256 = writer.write(LAYOUT.slots[name], tensor * factor)
                    staging.journal(name, {"digest": sha256, "seconds": 0.5})
        for name, data in SIDECARS.items():
            staging.write_file(name, data)
        staging.write_file("mergeometry.json", record_of(*sorted(staging.names)))
        told = staging.publish()
    assert notes is not None or not told
    if notes is not None:
        notes.extend(told)
    return computed


def content(folder: Path):
    """All files of a folder with their bytes; None if there is no folder."""
    if not folder.is_dir():
        return None
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_old(target: Path):
    for name, data in OLD.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)


class Died(BaseException):
    """The process is gone."""


class FaultyFileSystem(FileSystem):
    """Counts operations; at the given one it dies, dies half way through a write, or fails once with an errno."""

    def __init__(self, at: int | None = None, mode: str = "die", code: int = errno.EIO, exchange: bool = True):
        self.count = 0
        self.at = at
        self.mode = mode
        self.code = code
        self.can_exchange = exchange
        self.dead = False
        self.descriptors = set()

    def exchange(self, first, second):
        if not self.can_exchange:
            raise OSError(errno.EINVAL, "not on this file system")
        FileSystem.exchange(self, first, second)

    def sync_file(self, path):
        """Nothing here survives a power loss anyway, and hundreds of runs need not wait for the disk."""

    def sync_folder(self, path):
        """As above."""

    def _operate(self, name, operation, arguments, options):
        if self.dead:
            raise Died
        number, self.count = self.count, self.count + 1
        if number == self.at:
            if self.mode == "half" and name in ("write", "write_at"):
                descriptor, data, *rest = arguments
                operation(self, descriptor, memoryview(data)[: len(data) // 2], *rest)
            if self.mode == "fail":
                if name == "close":
                    self._closed(arguments[0])
                raise OSError(self.code, os.strerror(self.code))
            self.dead = True
            for descriptor in self.descriptors:
                os.close(descriptor)  # as the system does for a dead process
            raise Died
        if name == "close":
            self.descriptors.discard(arguments[0])
        result = operation(self, *arguments, **options)
        if name in ("open", "lock"):
            self.descriptors.add(result)
        return result

    def _closed(self, descriptor):
        self.descriptors.discard(descriptor)
        os.close(descriptor)


def _counted(name, operation):
    def counted(self, *arguments, **options):
        return self._operate(name, operation, arguments, options)

    return counted


for _name, _operation in {**vars(FileSystem), **vars(FaultyFileSystem)}.items():
    if (
        _name in vars(FileSystem) and callable(_operation) and not _name.startswith("_") and _name != "remove_tree"
    ):  # that one is made of others
        setattr(FaultyFileSystem, _name, _counted(_name, _operation))
