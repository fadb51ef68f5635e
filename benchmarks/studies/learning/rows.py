"""The rows that are compared, and the ablations of Algorithm 2; all fixed before any test text was scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEEDS = (0, 1, 2)

TSV, MDA = "tsv_m", {"name": "mda", "simplex": "directions"}


@dataclass(frozen=True)
class Row:
    """One way to learn: a recipe's method, start and `adapt:` section."""

    name: str
    method: Any
    scale: float
    adapt: dict[str, Any]
    texts: int = 600
    threads: int = 1
    """Number of threads; figures do not depend on it, minutes do."""

    def spec(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {"method": self.method, "scale": self.scale, "adapt": self.adapt, "texts": self.texts}


_SHORT = {"steps": 40, "batch_size": 8, "patience": 0, "check_every": 20}
_LONG = {"steps": 400, "batch_size": 16, "patience": 0, "check_every": 50}
_EXPERT = {"objective": "distill", "distill": 1.0, "hidden": 3.0, "rotation": "none"}

ROWS = (
    Row("AdaMerging, task-wise", "adamerging", 0.3, {**_SHORT, "objective": "adamerging", "coefficients": "task"}),
    Row("AdaMerging, layer-wise", "adamerging", 0.3, {**_SHORT, "objective": "adamerging", "coefficients": "layer"}),
    Row(
        "AdaMerging++, layer-wise",
        {"name": "adamerging", "density": 0.2},
        0.3,
        {**_SHORT, "objective": "adamerging", "coefficients": "layer"},
    ),
    Row(
        "MDA, coefficients only", MDA, 0.5, {**_SHORT, "objective": "mda", "coefficients": "layer", "rotation": "none"}
    ),
    Row("MDA, rotations only", MDA, 0.5, {**_SHORT, "objective": "mda", "coefficients": "fixed"}),
    Row("MDA, both", MDA, 0.5, {**_SHORT, "objective": "mda", "coefficients": "layer"}),
    Row(
        "distill, one coefficient per pair",
        TSV,
        0.5,
        {**_LONG, **_EXPERT, "coefficients": "pair"},
        texts=3000,
        threads=2,
    ),
)
"""What the figures compare. Starts and rates were chosen on validation texts with one seed."""

_BASE = {**_SHORT, "objective": "mda", "coefficients": "layer"}


def _ablation(name: str, *, rank: int | float | None = None, **changed: Any) -> Row:
    method = MDA if rank is None else {**MDA, "rank": rank}
    return Row(name, method, 0.5, {**_BASE, **changed})


ABLATIONS = (
    _ablation("Algorithm 2"),
    _ablation("no rotation", rotation="none"),
    _ablation("coefficients fixed", coefficients="fixed"),
    _ablation("prototypes random", prototypes="random"),
    _ablation("alpha 0", alpha=0.0),
    _ablation("beta 0", beta=0.0),
    _ablation("rank 0.01 (3 directions per task)", rank=0.01),
    _ablation("alpha 1.6", alpha=1.6),
    _ablation("beta 0.8", beta=0.8),
)
"""Algorithm 2 with one thing changed at a time.

The rank is the number of directions taken from each task: for adapters of rank 16 every share from 0.1 of the smaller
side (384) takes all 16, which is the first row.
"""
