"""``python -m benchmarks.studies.two_merges``: a tensor of the eight text adapters in a good and in a bad merge."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mergeometry as mg
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from benchmarks.studies.calibration.boards import suite_folder

RESULT = ROOT / "benchmarks" / "results" / "two_merges.json"
BOARD = "text-8-adapters"
MERGES = {"good": ("tsv_m", 0.5), "bad": ("task_arithmetic", 1.0)}
"""A method at a scale of that board."""


def main() -> None:
    """Merge, measure, and keep the figures of the tensor that the bad merge counts most often."""
    found = circumstances()
    recipe = json.loads((suite_folder(BOARD) / "recipe.yaml").read_text("utf-8"))
    recipe = {key: value for key, value in recipe.items() if key not in {"method", "scale"}}
    documents: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name, (method, scale) in MERGES.items():
            run = mg.merge({**recipe, "method": method, "scale": scale}, Path(folder) / name, workers=1)
            documents[name] = run.report(workers=1).to_json()
            say(f"{name}: {method} at {scale:g}")
    matrices = {
        name: {one["name"]: one for one in document["tensors"] if one["matrix"] is not None}
        for name, document in documents.items()
    }
    tensor = max(matrices["bad"], key=lambda own: matrices["bad"][own]["merged"]["accumulated"])
    result = {
        **found, "board": BOARD, "merges": MERGES, "tensor": tensor,
        "energy_ranks": matrices["good"][tensor]["matrix"]["energy_ranks"],
        "experts": matrices["good"][tensor]["matrix"]["energy_kept"],
        **{name: own[tensor]["merged"] for name, own in matrices.items()},
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
