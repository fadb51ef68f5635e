"""Results that show themselves: in a notebook as a table, on disk as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mergeometry.comparison.kept import read_comparison
from mergeometry.feature_figures.words import with_figures
from mergeometry.inspection import result
from mergeometry.inspection.own_folder import FIGURES, PAGE, refuse_foreign_folder, write_files
from mergeometry.report.inspection import inspection_cell, inspection_page
from mergeometry.sink import RunRecord, read_record

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison
    from mergeometry.feature_figures.tasks_file import Given
    from mergeometry.inspection.on_inputs import OnInputs


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(result.Inspection):
    """How the task vectors of models lie to each other; in a notebook it shows its verdict and its models."""

    @classmethod
    def of(cls, measured: result.Inspection, figures: OnInputs | None = None) -> Self:
        """The same figures, and those on inputs where there are some."""
        measured = measured if figures is None else with_figures(measured, figures)
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

    def report(
        self,
        *,
        data: Given | None = None,
        limit: int = 256,
        comparison: Comparison | str | Path | None = None,
        workers: int | None = None,
        memory_limit: int | str | None = None,
    ) -> Inspection:
        """Measure what became of every model in the merge; shown in a notebook, and written by ``save``.

        With ``data``, a TASKS.yaml, its content or "recipe", base, experts and merged model also run on at most
        ``limit`` inputs of each task. With ``comparison``, a result of `compare` or its folder, the report shows how
        this merge's method and scale did there.

        Raises:
            MergeometryError: the output is gone, a worker dies, a model cannot be run on the inputs, or the comparison
                cannot be read.
        """
        from mergeometry.feature_figures.scores import with_scores  # noqa: PLC0415  (needs torch)
        from mergeometry.inspection.after import report_on  # noqa: PLC0415  (needs torch)

        compared = read_comparison(Path(comparison)) if isinstance(comparison, str | Path) else comparison
        figures = None
        if data is not None:
            from mergeometry.feature_figures.report import figures_of_output  # noqa: PLC0415

            figures = figures_of_output(self.output, data, limit=limit, memory_limit=memory_limit)
        measured = report_on(self.output, workers=workers, memory_limit=memory_limit)
        return Inspection.of(with_scores(measured, compared, self.output), figures)
