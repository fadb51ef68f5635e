"""The options of a run: where a merge is written, how its work is shared out, and on which device it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from mergeometry.cli.events import LogForm, LogOption
from mergeometry.cli.executor import ExecutorOptions
from mergeometry.cli.merge_page import ReportOption
from mergeometry.cli.show import wrong_usage

if TYPE_CHECKING:
    from mergeometry.execution.directions_folder import DirectionsFolder

ScoringDevice: TypeAlias = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, or auto: a GPU where there is one.")
]
MemoryLimitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="BYTES",
        help="What all processes may take together, such as 8GB; by default the machine's memory, or less where a "
        "container, a job or `ulimit` allows less.",
    ),
]
DirectionsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--directions",
        envvar="MERGEOMETRY_DIRECTIONS",
        metavar="FOLDER",
        help="Keep the decompositions of full models in a folder, and take from it those that an earlier merge left "
        "(docs/known-directions.md); they do not change the result.",
    ),
]
DirectionsLimitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="BYTES", help="What the files of --directions may take together; by default 50GB. The oldest go first."
    ),
]


@dataclass(frozen=True)
class WriteOptions(ExecutorOptions):
    """Where one merge is written, and how its work is shared out; they do not change its result."""

    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder to write; it must not exist.")] = (
        None
    )
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core, none for a small merge.")
    ] = None
    memory_limit: MemoryLimitOption = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where an interrupted run of this recipe stopped.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output in one step.")] = False


@dataclass(frozen=True)
class RunOptions(WriteOptions):
    """The same with where to learn."""

    device: Annotated[
        str,
        typer.Option(
            help="Where to learn and merge: cpu, cuda, cuda:1, or auto: a GPU where there is one, for tensors whose "
            "merge it speeds up."
        ),
    ] = "auto"
    directions: DirectionsOption = None
    directions_limit: DirectionsLimitOption = None
    report: ReportOption = None
    log: LogOption = LogForm.TEXT

    @property
    def directions_folder(self) -> DirectionsFolder | None:
        """The folder of directions, where one is given; ``RecipeError`` where its limit is no number of bytes."""
        return chosen_folder(self.directions, self.directions_limit)

    def check(self) -> None:
        """Refuse a device that there is not."""
        check_device_name(self.device)

    def check_device(self) -> None:
        """Refuse a GPU that is not there, before anything is read; ``RecipeError`` says what is."""
        if self.device not in {"auto", "cpu"}:
            from mergeometry.execution.devices import chosen_device

            chosen_device(self.device)


def chosen_folder(place: Path | None, limit: str | None) -> DirectionsFolder | None:
    """The folder of directions and its limit; None where none is given."""
    if place is None:
        if limit is not None:
            wrong_usage("--directions-limit is for --directions, which says where they are kept")
        return None
    from mergeometry.execution.directions_folder import directions_folder

    return directions_folder(place, limit)


def check_device_name(name: str) -> None:
    """Refuse a name that no device has."""
    if name not in {"auto", "cpu"} and not name.startswith("cuda"):
        wrong_usage(f"--device {name}: the devices are auto, cpu, cuda and cuda:1, cuda:2, ...")
