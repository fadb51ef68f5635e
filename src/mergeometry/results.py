"""Results that show themselves: in a notebook as a table, on disk as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from mergeometry.inspection import result
from mergeometry.inspection.own_folder import FIGURES, PAGE, refuse_foreign_folder, write_files
from mergeometry.report.inspection import inspection_cell, inspection_page
from mergeometry.sink import RunRecord, read_record


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(result.Inspection):
    """How the task vectors of models lie to each other; in a notebook it shows its verdict and its models."""

    @classmethod
    def of(cls, measured: result.Inspection) -> Self:
        """The same figures."""
        return cls(**{field.name: getattr(measured, field.name) for field in fields(measured)})

    def save(self, folder: str | Path) -> Path:
        """Write the page and the figures into a folder that is new or of an earlier inspection; return the page.

        Raises:
            OutputError: the folder holds other files or belongs to an input, or the disk refuses the files.
        """
        place = Path(folder)
        inputs = [Path(model.path) for model in (self.base, *self.models, *([self.output] if self.output else []))]
        refuse_foreign_folder(place, inputs)
        document = self.to_json()
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        write_files(place, {FIGURES: text, PAGE: inspection_page(document)})
        return place / PAGE

    def _repr_html_(self) -> str:
        return inspection_cell(self.to_json())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Run(RunRecord):
    """The record of a merge, which knows where its output is."""

    output: Path = Path()

    @classmethod
    def of(cls, record: RunRecord, output: str | Path) -> Self:
        """The same record."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(record)}, output=Path(output))

    @classmethod
    def read(cls, output: str | Path) -> Self:
        """The record of an earlier merge, from its output.

        Raises:
            SourceError: there is no run record, or it is malformed or of another version.
        """
        return cls.of(read_record(Path(output)), output)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values: what the output's mergeometry.json holds."""
        return {key: value for key, value in RunRecord.to_json(self).items() if key != "output"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunRecord) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  (records hold mappings)

    def report(self, *, workers: int | None = None, memory_limit: int | str | None = None) -> Inspection:
        """Measure what became of every model in the merge; shown in a notebook, and written by ``save``.

        Raises:
            MergeometryError: the output is gone, or a worker dies.
        """
        from mergeometry.inspection.after import report_on  # noqa: PLC0415  (needs torch)

        return Inspection.of(report_on(self.output, workers=workers, memory_limit=memory_limit))
