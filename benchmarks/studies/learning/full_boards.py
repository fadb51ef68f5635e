"""The full fine-tunes that MDA's Algorithm 2 is measured on, and its rows, fixed before any test input was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.studies.learning.rows import MDA
from mergeometry_suite.tasks import TEXT_8
from mergeometry_suite.vision.tasks import VISION_SUITES

_SHORT = {"steps": 40, "batch_size": 8, "patience": 0, "check_every": 20}
_MDA = {**_SHORT, "objective": "mda"}


@dataclass(frozen=True)
class Board:
    """Tasks with full fine-tunes of several training seeds, and what a page says of them."""

    tasks: Sequence[str]
    mark: str
    """Where the table stands on the page."""
    inputs: str
    scale: float
    """Of `mda directions`, chosen on validation inputs of the board of the first training seed."""
    auto: str
    """What `auto` merges these by."""

    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """What recipes say, by row."""
        start = {"method": MDA, "scale": self.scale}
        by_entropy = {**_SHORT, "objective": "adamerging", "coefficients": "layer"}
        return {
            f"{self.auto} (`auto`), no learning": {},
            f"mda directions, scale {self.scale:g}, no learning": start,
            "AdaMerging, layer-wise": {"method": "adamerging", "scale": 0.3, "adapt": by_entropy},
            "MDA, coefficients only": {**start, "adapt": {**_MDA, "coefficients": "shared-layer", "rotation": "none"}},
            "MDA, rotations only": {**start, "adapt": {**_MDA, "coefficients": "fixed"}},
            "MDA, both": {**start, "adapt": {**_MDA, "coefficients": "shared-layer"}},
            "MDA, both, a coefficient per task and layer": {**start, "adapt": {**_MDA, "coefficients": "layer"}},
            "distill by the defaults, 60 steps": {"adapt": {"steps": 60}},
        }


FULL_BOARDS = {
    "text-8": Board(TEXT_8, "full fine-tunes", "texts", 0.75, "own_blocks"),
    "vision-6": Board(VISION_SUITES["vision-6"], "full fine-tunes of images", "images", 0.3, "own_blocks"),
}
