"""Results that show themselves: in a notebook as a table, on disk as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from mergeometry.inspection import result
from mergeometry.inspection.own_folder import FIGURES, PAGE, refuse_foreign_folder, write_files
from mergeometry.report.inspection import inspection_cell, inspection_page


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
