"""Digests of the code that a result depends on, found by following imports, so that no list can miss a file."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

_ENDINGS = (".py", *EXTENSION_SUFFIXES)


class CodeDigest:
    """The modules of some packages, each read once; the folders say where each top-level name lives.

    Depended on is all that a module imports, inside of functions too, and all that these import in turn. A text that
    is a module's full name counts as an import, since it is what a module is looked up by. What is looked up by
    other means, as methods are by a recipe's names, must be named as a module to start from.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._files: dict[str, Path | None] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._hashes: dict[str, str] = {}

    @classmethod
    def of_installed(cls, *packages: str) -> CodeDigest:
        """The code of top-level packages where this process would import them from; none of them is imported.

        Raises:
            ModuleNotFoundError: there is no such package.
        """
        return cls({name: _folder_of(name) for name in packages})

    def of(self, modules: Iterable[str]) -> str:
        """Digest of all that these modules depend on, themselves included.

        Raises:
            ModuleNotFoundError: one of them is not in these packages.
        """
        digest = hashlib.sha256()
        for module in self.closure(modules):
            digest.update(f"{module} {self._hash(module)}\n".encode())
        return digest.hexdigest()

    def of_classes(self, kinds: Iterable[type]) -> str:
        """Digest of all that the modules of these classes depend on; their packages are added where they are new.

        Raises:
            ModuleNotFoundError: a class is of no module that can be imported.
        """
        modules = [kind.__module__ for kind in kinds]
        for name in {module.partition(".")[0] for module in modules} - self._folders.keys():
            self._folders[name] = _folder_of(name)
            # A module that is known already may import from the package that is new.
            self._files, self._imports = {}, {}
        return self.of(modules)

    def closure(self, modules: Iterable[str]) -> list[str]:
        """Names of all modules that these depend on, themselves included, sorted.

        Raises:
            ModuleNotFoundError: one of them is not in these packages.
        """
        waiting = list(modules)
        for module in waiting:
            if self._file(module) is None:
                raise ModuleNotFoundError(f"no file of module {module!r} was found", name=module)
        found: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += self._imported(module)
        # Importing a module runs its packages' own files; what these import reaches it by a name only, as seen above.
        found |= {parent for module in found for parent in _parents(module) if self._file(parent) is not None}
        return sorted(found)

    def _imported(self, module: str) -> frozenset[str]:
        if module not in self._imports:
            file = self._file(module)
            assert file is not None
            names: frozenset[str] = frozenset()
            if file.suffix == ".py":
                package = module if file.name == "__init__.py" else module.rpartition(".")[0]
                names = _names(file.read_bytes(), package)
            self._imports[module] = frozenset(name for name in names if self._file(name) is not None)
        return self._imports[module]

    def _hash(self, module: str) -> str:
        if module not in self._hashes:
            file = self._file(module)
            assert file is not None
            self._hashes[module] = hashlib.sha256(file.read_bytes()).hexdigest()
        return self._hashes[module]

    def _file(self, module: str) -> Path | None:
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        parts = module.split(".")
        if parts[0] not in self._folders or not all(part.isidentifier() for part in parts):
            return None
        place = self._folders[parts[0]].joinpath(*parts)
        candidates = [place / "__init__.py", *(place.with_name(place.name + ending) for ending in _ENDINGS)]
        return next((file for file in candidates if file.is_file()), None)


def _folder_of(name: str) -> Path:
    """The folder that holds a top-level package or module."""
    spec = find_spec(name) if name != "__main__" else None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    raise ModuleNotFoundError(f"no module {name!r} can be imported", name=name)


def _parents(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


@cache
def _names(code: bytes, package: str) -> frozenset[str]:
    """Full names of all that a file imports, and of all that may be such: names in modules, and texts.

    Remembered by the code itself: every comparison of a process looks at the same files.
    """
    names: set[str] = set()
    for node in _run(ast.parse(code)):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and "." in node.value:
                names.add(node.value)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                names.update(_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, package)
            names.add(start)
            names.update(f"{start}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that can run: what stands under TYPE_CHECKING is for type checkers only."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
