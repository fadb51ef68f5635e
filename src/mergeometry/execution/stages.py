"""A merge of several stages: each is merged once those that it needs are, and the last gives the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mergeometry.errors import MergeometryError, RecipeError
from mergeometry.recipe import Recipe
from mergeometry.recipe.stages import Stage
from mergeometry.sink import RunRecord
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem
from mergeometry.sink.lock import RunLock
from mergeometry.sink.record import read_record


@dataclass(frozen=True)
class Places:
    """Where the stages' results go.

    The stage without a name gives the output, and the named ones lie in a folder beside it until it is there. Where all
    have names, each is a folder in the output.
    """

    output: Path
    all_named: bool

    @classmethod
    def of(cls, stages: Sequence[Stage], output: Path) -> Places:
        """The places of the stages of one merge."""
        return cls(output, all(stage.name is not None for stage in stages))

    @property
    def scratch(self) -> Path:
        """The folder beside the output."""
        return stages_folder(self.output)

    def place(self, name: str) -> Path:
        """Where the result of a named stage lies."""
        return (self.output if self.all_named else self.scratch) / name

    def target(self, stage: Stage) -> Path:
        """Where a stage's result goes."""
        return self.output if stage.name is None else self.place(stage.name)


def check_stages(stages: Sequence[Stage], output: Path, check: Callable[[Recipe], object]) -> None:
    """Check every recipe, and plan those whose models are all there, before any work starts.

    Raises:
        MergeometryError: a recipe is not usable, or what ``check`` raises.
    """
    places = Places.of(stages, output)
    for stage in stages:
        recipe = stage.recipe(places.place)
        if not stage.needs:
            check(recipe)


def merge_stages(
    stages: Sequence[Stage],
    output: Path,
    merge: Callable[[Recipe, Path], RunRecord],
    *,
    resume: bool = False,
) -> Iterator[tuple[Stage, RunRecord, bool]]:
    """Merge one stage after another; each comes with its record, and whether it was there from an earlier run.

    What lies beside the output is removed at the end; after an error it stays, and ``resume`` takes what is finished.

    Raises:
        MergeometryError: what ``merge`` raises.
    """
    places = Places.of(stages, output)
    if not places.all_named and not resume:
        remove_stages(output)
    if places.all_named:
        output.mkdir(parents=True, exist_ok=True)
        yield from _each(stages, places, merge, resume=resume)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with _held(places.scratch):
        yield from _each(stages, places, merge, resume=resume)
    remove_stages(output)


def _each(
    stages: Sequence[Stage], places: Places, merge: Callable[[Recipe, Path], RunRecord], *, resume: bool
) -> Iterator[tuple[Stage, RunRecord, bool]]:
    for stage in stages:
        recipe, target = stage.recipe(places.place), places.target(stage)
        if resume and stage.name is not None and (record := _finished(target, recipe)) is not None:
            yield stage, record, True
            continue
        try:
            record = merge(recipe, target)
        except MergeometryError as error:
            if stage.name is not None or len(stages) > 1:
                error.add_note(f"in {stage.title}; finished stages are kept, and --resume takes them")
            raise
        yield stage, record, False


def stages_folder(output: Path) -> Path:
    """The folder beside an output in which the results of its named stages lie until it is there."""
    return output.parent / f".{output.name}.stages"


def remove_stages(output: Path) -> bool:
    """Remove what the stages of a merge left beside its output; whether there was anything.

    Raises:
        OutputError: the merge is still alive, or files cannot be removed.
    """
    scratch = stages_folder(output)
    if not scratch.is_dir() or scratch.is_symlink():
        return False
    with _held(scratch), explained("the finished stages cannot be removed", scratch):
        for child in scratch.iterdir():
            if child.name != "lock":
                FileSystem().remove_tree(child)
    return True


@contextmanager
def _held(scratch: Path) -> Iterator[None]:
    """Hold the folder of the stages, which is removed with its lock once it is empty."""
    lock = RunLock(scratch, FileSystem())
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _finished(target: Path, recipe: Recipe) -> RunRecord | None:
    """The record of a stage that an earlier run finished by the same recipe; None where it did not.

    Raises:
        RecipeError: another recipe's result is there.
    """
    if not target.exists():
        return None
    record = read_record(target)
    if record.recipe != recipe.canonical():
        hint = "without --resume all stages are merged anew"
        raise RecipeError("a finished stage is there that another recipe made", file=target, hint=hint)
    return record
