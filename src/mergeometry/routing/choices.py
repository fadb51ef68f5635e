"""What the output of a merge holds for each task, for a router to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mergeometry.errors import DataError
from mergeometry.execution.head_files import safe_name
from mergeometry.sink import read_record
from mergeometry.sink.target import record_path


@dataclass(frozen=True, slots=True)
class Choices:
    """What a router chooses among, and the models that have one; `tasks` where no record says what there is."""

    among: Literal["residuals", "heads", "tasks"]
    names: tuple[str, ...] = ()

    def problems(self, tasks: list[str]) -> list[str]:
        """Why a router of these tasks would not fit, one sentence each."""
        if self.among == "tasks":
            return []
        one = self.among.removesuffix("s")
        return [
            *(f"{name}: the merge has no {one} of this name" for name in tasks if name not in self.names),
            *(
                f"{name}: the merge has a {one} of this name, and the tasks do not"
                for name in self.names
                if name not in tasks
            ),
        ]


def choices_in(merged: Path) -> Choices:
    """What the folder holds for each model: its residual, else its head.

    Raises:
        DataError: it is a merge that has neither.
        SourceError: the record of the merge cannot be read.
    """
    if not record_path(merged).is_file():
        return Choices("tasks")
    record = read_record(merged)
    if record.residuals:
        return Choices("residuals", tuple(record.residuals))
    names = [model["name"] for model in record.recipe["models"]]
    heads = tuple(name for name in names if f"heads/{safe_name(name)}.safetensors" in record.files)
    if not heads:
        raise DataError(
            "the merge has neither residuals nor heads, so there is nothing that a router could choose", file=merged,
            hint="merge with `output: {residuals: {keep: 0.9}}`; what you keep elsewhere for each task is chosen by a "
            "router from Python: mergeometry.fit_router(model, inputs)",
        )  # fmt: skip
    return Choices("heads", heads)
