"""What may be written to and what may be replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained

RECORD_NAME = "mergeometry.json"


def resolved_target(target: Path | str) -> Path:
    """Return the target's absolute path, links in its parents resolved; ``OutputError`` if it has no name."""
    absolute = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link at the target itself
    with explained("the output's path cannot be resolved", absolute):
        path = absolute.parent.resolve() / absolute.name
    if not absolute.name:
        raise OutputError("the output cannot be a file system's root", file=absolute)
    return path


def staging_folder(target: Path) -> Path:
    """Return the folder next to a resolved target in which its output is staged."""
    return target.with_name(f".{target.name}.mergeometry-staging")


def learning_folder(target: Path) -> Path:
    """Return the folder next to a resolved target in which the state of learning is kept."""
    return target.with_name(f".{target.name}.mergeometry-learning")


def occupied(target: Path) -> bool:
    """Whether the target is taken; an empty folder does not count, since it is replaced."""
    if target.is_symlink() or not target.is_dir():
        return os.path.lexists(target)
    with os.scandir(target) as entries:
        return next(entries, None) is not None


def refuse_taken(target: Path, *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Raise ``OutputError`` if the target may not be created or, with ``overwrite``, not be replaced."""
    with explained("the output's path cannot be examined", target):
        _refuse_users_folders(target)
        _refuse_inputs(target, inputs)
        if target.is_symlink():
            raise OutputError("the output is a symbolic link", file=target, hint="give the folder it points to")
        if not occupied(target):
            return
        if not target.is_dir():
            raise OutputError("the output exists and is not a folder", file=target, hint="choose another output")
        if not overwrite:
            raise OutputError(
                "the output exists already", file=target, hint="choose another output, or replace it with --overwrite"
            )
        _refuse_foreign(target)


def _refuse_users_folders(target: Path) -> None:
    places = [("the current folder", Path.cwd())]
    with suppress(RuntimeError):  # a user without a home, as in some containers
        places.append(("your home folder", Path.home()))
    for what, place in places:
        if place.resolve().is_relative_to(target):
            raise OutputError(f"the output would replace {what}", file=target, hint="choose a folder inside it")


def _refuse_inputs(target: Path, inputs: Sequence[Path]) -> None:
    for source in inputs:
        if any(path.is_relative_to(target) for path in _places(source)):
            raise OutputError(
                "the output would replace one of the inputs",
                file=target,
                hint=f"{source} lies there; choose another output",
            )


def _places(source: Path) -> Iterator[Path]:
    """Yield where an input lies: as named, as resolved, and where the links in its folder lead."""
    yield Path(os.path.abspath(source))  # noqa: PTH100 - the path as named, links kept
    yield source.resolve()
    if source.is_dir():
        yield from (child.resolve() for child in source.iterdir() if child.is_symlink())


def _refuse_foreign(target: Path) -> None:
    # README.md or config.json alone would make any project's folder look like a model.
    names = [entry.name for entry in target.iterdir()]
    if ".git" in names:
        raise OutputError(
            "the output is a git repository, which is never replaced", file=target, hint="choose another output"
        )
    if RECORD_NAME in names or any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        return
    raise OutputError(
        "the output exists and does not look like a model folder, so it is not replaced",
        file=target,
        hint=f"it holds neither {RECORD_NAME} nor *.safetensors; choose another output, or remove it yourself",
    )
