"""The files of one model's folder that an output may take over, sentence-transformers modules included."""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mergeometry import limits
from mergeometry.conventions.folders import Kind, kind_of_file, kind_of_folder
from mergeometry.conventions.hub_cache import may_link_to
from mergeometry.conventions.modules import MODULES_FILE, Module, modules_of
from mergeometry.errors import SourceError, printable
from mergeometry.sink.configuration import parsed_configuration
from mergeometry.sink.failures import readable_bytes
from mergeometry.sink.record_parts import LeftOut


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One file to copy: where it really lies, and its name in the output."""

    source: Path
    name: str
    nbytes: int


class FolderFiles:
    """Goes through a model's folder: which files of the ``kinds`` it holds, and why it leaves out the others.

    Raises:
        SourceError: a file of the kinds is a link out of the folder, not a regular file, or too large, or modules.json
            is malformed.
    """

    def __init__(self, folder: Path, kinds: Collection[Kind]) -> None:
        self._folder, self._kinds = folder, kinds
        self.files: list[Sidecar] = []
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        modules = self._modules()
        self.main = next((module.path for module in modules if module.is_encoder), "")
        """The subfolder that the encoder's own files lie in."""
        paths = sorted({module.path for module in modules if module.path})
        for child in sorted(folder.iterdir()):
            if child.name not in paths:
                self._add(child, child.name)
        for path in paths:
            self._add_module(path)

    def _modules(self) -> tuple[Module, ...]:
        path = self._folder / MODULES_FILE
        if not path.exists():
            return ()
        try:
            modules = modules_of(parsed_configuration(self._checked(path, path.name).source))
        except ValueError as error:
            raise SourceError(str(error), file=path) from error
        if Kind.CONFIGURATION in self._kinds:
            self.notes.extend(
                f"modules.json names {printable(module.type)}, code that is not copied"
                for module in modules
                if module.is_code
            )
        return modules

    def _add(self, child: Path, name: str) -> None:
        if child.is_dir():
            row = kind_of_folder(child.name)
            if row.kind in self._kinds:
                for file in sorted(child.iterdir()):
                    self._add(file, f"{name}/{file.name}")
            else:
                self.left_out.append(LeftOut(f"{name}/", row.words))
            return
        row = kind_of_file(child.name)
        if row.kind in self._kinds:
            self.files.append(self._checked(child, name))
        else:
            self.left_out.append(LeftOut(name, row.words or "a model that the recipe names gives its own"))

    def _add_module(self, module: str) -> None:
        """Copy or leave out the files of one module; one without state, such as Normalize, often has no folder."""
        folder = self._folder / module
        if not folder.is_dir():
            return
        if not folder.resolve().is_relative_to(self._folder.resolve()):
            raise SourceError("a folder of the model leads out of it by a symbolic link", file=folder)
        for child in sorted(folder.iterdir()):
            self._add(child, f"{module}/{child.name}")

    def _checked(self, path: Path, name: str) -> Sidecar:
        """Follow links no further than the folder or its hub cache, and accept nothing but a small enough file."""
        try:
            source = path.resolve(strict=True)
            state = source.stat()
        except (OSError, RuntimeError) as error:
            raise SourceError("a file to copy cannot be reached", file=path) from error
        if not may_link_to(self._folder.resolve(), source):
            raise SourceError(
                "a file to copy is a symbolic link out of its model's folder",
                file=path,
                hint=f"it leads to {source}; put the file itself there",
            )
        if not stat.S_ISREG(state.st_mode):
            raise SourceError("a file to copy is not a regular file", file=path)
        if state.st_size > limits.SIDECAR_BYTES:
            raise SourceError(
                f"a file of {readable_bytes(state.st_size)} is too large to be copied next to the weights; at most "
                f"{readable_bytes(limits.SIDECAR_BYTES)} are",
                file=path,
            )
        return Sidecar(source, name, state.st_size)
