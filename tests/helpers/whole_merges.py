"""A whole merge, from its recipe to the published output, that dies or fails at any of its operations on files."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mergeometry as mg
from mergeometry.execution import compute, pool
from mergeometry.sink import FileSystem
from tests.helpers import models

SHAPES = {f"layer.{number}.dense.weight": (6, 4 + number) for number in range(5)} | {"norm.weight": (4,)}
MODULES = {name.removesuffix(".weight"): shape for name, shape in SHAPES.items() if len(shape) == 2}

_FAILURES = {"fail": errno.EIO, "full": errno.ENOSPC}
Operate = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


def write_inputs(folder: Path, *, adapters: int = 0) -> dict[str, Any]:
    """A base and two models of it in shards, the last of them adapters; the recipe's inputs."""
    base = models.random_tensors(0, shapes=SHAPES)
    models.write_shards(folder / "base", base, 2, config={"model_type": "bert"})
    for number in range(2):
        place = folder / f"task{number}"
        if number >= 2 - adapters:
            models.write_adapter(place, models.random_factors(number, MODULES))
        else:
            models.write_shards(place, models.tuned(base, number), 2)
    return {"base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in range(2)]}


def watch_operations(operate: Operate) -> None:
    """Hand every operation on files of this process to ``operate``: its name, the operation and its arguments."""
    for name, operation in list(vars(FileSystem).items()):
        # remove_tree is made of the others.
        if callable(operation) and not name.startswith("_") and name != "remove_tree":
            setattr(FileSystem, name, _watched(name, operation, operate))


def _watched(name: str, operation: Callable[..., Any], operate: Operate) -> Callable[..., Any]:
    def watched(self: FileSystem, *arguments: Any, **options: Any) -> Any:
        return operate(name, lambda *given: operation(self, *given, **options), arguments)

    return watched


def merge(recipe: dict[str, Any], output: Path, log: Path, **options: Any) -> None:
    """Merge in this process, and note in the log each tensor that is begun and done."""
    real = compute.compute

    def noting(job: compute.Job) -> compute.Outcome:
        note(log, f"begun {job.task.name}")
        outcome = real(job)
        note(log, f"done {job.task.name}")
        return outcome

    pool.compute = noting
    mg.merge(recipe, output, **{"workers": 1, **options})


def merge_and_die(recipe: dict[str, Any], output: Path, log: Path, at: int | None, mode: str, **options: Any) -> None:
    """Merge, and die at operation ``at``: before it, or half way through what it writes; or have it fail once.

    The number of operations is noted in the log. Nothing is synced to the disk: a process that dies loses nothing that
    it wrote.
    """
    count = 0

    def operate(name: str, operation: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        nonlocal count
        number, count = count, count + 1
        if number == at and mode in _FAILURES:
            raise OSError(_FAILURES[mode], os.strerror(_FAILURES[mode]))
        if number == at:
            if mode == "half" and name in ("write", "write_at"):
                descriptor, data, *rest = arguments
                operation(descriptor, memoryview(data)[: len(data) // 2], *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return None if name.startswith("sync") else operation(*arguments)

    watch_operations(operate)
    try:
        merge(recipe, output, log, **options)
    except mg.MergeometryError as error:
        note(log, f"error {type(error).__name__}")
    finally:
        note(log, f"operations {count}")


def note(log: Path, line: str) -> None:
    """Append a line in one write, which a process that dies cannot tear."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def noted(log: Path, kind: str) -> list[str]:
    """What follows ``kind`` in the lines of a log that begin with it."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} ")]


def content(target: Path) -> dict[str, str] | None:
    """The hash of every file of an output, its run record apart, which has times; None if there is no output."""
    if target.suffix == ".safetensors":
        return {"": models.file_hashes(target.parent)[target.name]} if target.is_file() else None
    if not target.is_dir():
        return None
    return {name: digest for name, digest in models.file_hashes(target).items() if name not in _TIMED}


_TIMED = ("mergeometry.json", "README.md")
