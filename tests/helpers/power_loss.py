"""A file system that notes what a disk would see, and a disk that keeps only what was synced."""

import os
from collections.abc import Callable
from pathlib import Path

from mergeometry.sink import FileSystem


class RecordingFileSystem(FileSystem):
    """Does everything, and notes what a disk would see."""

    def __init__(self):
        self.log = []
        self.paths = {}

    def open(self, path, *, create=False, append=False, direct=False):
        descriptor = super().open(path, create=create, append=append, direct=direct)
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

    def restore(self, place: Path, reached: Callable[[object], bool]) -> None:
        """Write what is left after a power loss below a folder; ``reached`` tells what reached the disk unsynced."""
        self._restore(self.top, place, reached)

    def _restore(self, folder, place, reached):
        place.mkdir(exist_ok=True)
        for name, node in (folder.entries if reached(folder) else folder.durable).items():
            if isinstance(node, File):
                (place / name).write_bytes(bytes(node.data) if reached(node) else node.durable)
            else:
                self._restore(node, place / name, reached)

    def after_power_loss(self, folder, reached):
        """What a folder holds if ``reached`` tells, for each folder, whether its unsynced entries reached the disk."""
        found = {}
        for name, node in (folder.entries if reached(folder) else folder.durable).items():
            if isinstance(node, File):
                found[name] = node.durable
            else:
                found.update({f"{name}/{key}": data for key, data in self.after_power_loss(node, reached).items()})
        return found
