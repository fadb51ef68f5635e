"""Power loss: replay every prefix of the recorded operations with unsynced ones dropped; never half a folder."""

import os
import random
from pathlib import Path

import pytest

from mergeometry.sink import FileSystem
from tests.helpers.sink_run import OLD, content, put_old, run


class RecordingFileSystem(FileSystem):
    """Does everything, and notes what a disk would see."""

    def __init__(self):
        self.log = []
        self.paths = {}

    def open(self, path, *, create=False, append=False):
        descriptor = super().open(path, create=create, append=append)
        self.paths[descriptor] = path
        if create:
            self.log.append(("create", path))
        return descriptor

    def lock(self, path):
        if not path.exists():
            self.log.append(("create", path))
        return super().lock(path)

    def allocate(self, descriptor, size):
        super().allocate(descriptor, size)
        self.log.append(("allocate", self.paths[descriptor], size))

    def write(self, descriptor, data):
        start = os.fstat(descriptor).st_size
        super().write(descriptor, data)
        self.log.append(("write", self.paths[descriptor], start, bytes(data)))

    def write_at(self, descriptor, data, start):
        super().write_at(descriptor, data, start)
        self.log.append(("write", self.paths[descriptor], start, bytes(data)))

    def truncate(self, path, size):
        super().truncate(path, size)
        self.log.append(("truncate", path, size))


def _recorded(name):
    def recorded(self, *paths):
        getattr(FileSystem, name)(self, *paths)
        self.log.append((name, *paths))

    return recorded


for _name in ("make_folder", "sync_file", "sync_folder", "rename", "exchange", "remove_file", "remove_folder"):
    setattr(RecordingFileSystem, _name, _recorded(_name))


class File:
    def __init__(self, data=b"", durable=b""):
        self.data, self.durable = bytearray(data), durable


class Folder:
    def __init__(self):
        self.entries, self.durable = {}, {}


class Disk:
    """A file system whose files and folders reach the disk only when they are synced."""

    def __init__(self, root: Path):
        self.root, self.top = root, Folder()

    def node(self, path):
        node = self.top
        for part in path.relative_to(self.root).parts:
            node = node.entries[part]
        return node

    def apply(self, kind, path, *rest):
        parent = None if path == self.root else self.node(path.parent).entries
        if kind in ("create", "make_folder"):
            parent[path.name] = File() if kind == "create" else Folder()
        elif kind == "allocate":
            self.node(path).data = bytearray(rest[0])
        elif kind == "truncate":
            del self.node(path).data[rest[0] :]
        elif kind == "write":
            file, (start, data) = self.node(path), rest
            file.data.extend(bytes(max(0, start + len(data) - len(file.data))))
            file.data[start : start + len(data)] = data
        elif kind == "sync_file":
            self.node(path).durable = bytes(self.node(path).data)
        elif kind == "sync_folder":
            self.node(path).durable = dict(self.node(path).entries)
        elif kind == "rename":
            self.node(rest[0].parent).entries[rest[0].name] = parent.pop(path.name)
        elif kind == "exchange":
            other = self.node(rest[0].parent).entries
            parent[path.name], other[rest[0].name] = other[rest[0].name], parent[path.name]
        else:
            del parent[path.name]

    def after_power_loss(self, folder, reached):
        """What a folder holds if ``reached`` tells, for each folder, whether its unsynced entries reached the disk."""
        found = {}
        for name, node in (folder.entries if reached(folder) else folder.durable).items():
            if isinstance(node, File):
                found[name] = node.durable
            else:
                found.update({f"{name}/{key}": data for key, data in self.after_power_loss(node, reached).items()})
        return found


def put_durable(disk, target):
    put_old(target)
    disk.apply("make_folder", target)
    disk.apply("make_folder", target / "1_Pooling")
    for name, data in OLD.items():
        disk.node((target / name).parent).entries[target.joinpath(name).name] = File(data, data)
    for folder in (target / "1_Pooling", target, target.parent):
        disk.apply("sync_folder", folder)


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_prefix_leaves_an_incomplete_folder(tmp_path, overwrite):
    target, files, disk = tmp_path / "out", RecordingFileSystem(), Disk(tmp_path)
    if overwrite:
        put_durable(disk, target)
    run(target, files, overwrite=overwrite)
    new = content(target)
    generator = random.Random(0)
    seen = set()
    for operation in [None, *files.log]:
        if operation is not None:
            disk.apply(*operation)
        mixtures = [lambda folder: True, lambda folder: False]
        for _ in range(8):
            choice = {}
            mixtures.append(lambda folder, choice=choice: choice.setdefault(id(folder), generator.random() < 0.5))
        for reached in mixtures:
            entries = disk.top.entries if reached(disk.top) else disk.top.durable
            state = disk.after_power_loss(entries["out"], reached) if "out" in entries else None
            # Removing the old folder happens where it was staged, never at the target.
            assert state in ([OLD, new] if overwrite else [None, new]), operation
            seen.add(state == new)
    assert seen == {False, True}
    assert state == new, "and in the end nothing may still depend on luck"


def test_the_model_of_the_disk_catches_a_missing_sync(tmp_path):
    caught = set()
    for skipped in ("sync_file", "sync_folder"):
        target, files, disk = tmp_path / skipped / "out", RecordingFileSystem(), Disk(tmp_path / skipped)
        target.parent.mkdir()
        run(target, files)
        new = content(target)
        for operation in [entry for entry in files.log if entry[0] != skipped]:
            disk.apply(*operation)
            for whole in (True, False):
                top = disk.top.entries if whole else disk.top.durable
                # The rename reached the disk; inside, nothing that was not synced did.
                if "out" in top and disk.after_power_loss(top["out"], lambda folder: False) != new:
                    caught.add(skipped)
    assert caught == {"sync_file", "sync_folder"}
