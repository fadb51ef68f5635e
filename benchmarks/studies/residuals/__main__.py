"""The command line: ``python -m benchmarks.studies.residuals --boards text-8 text-14 --forms full adapter``.

Every point is kept as soon as it is scored, so that an interrupted study goes on; ``--kept`` runs nothing and writes
the results of the points that there are. Sizes are fixed beforehand, and nothing is chosen on test texts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.machine import circumstances
from benchmarks.studies.residuals.page import write_page
from benchmarks.studies.residuals.scene import Scene, merged_weights, with_residual

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "residuals.json"
COMMAND = "python -m benchmarks.studies.residuals"
SIZES = ("1%", "2%", "5%", "10%")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--boards", nargs="*", default=["text-8", "text-14"])
    parser.add_argument("--forms", nargs="*", default=["full", "adapter"], choices=["full", "adapter"])
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--test", type=int, default=300, help="test texts per task")
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "residuals")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.scratch.mkdir(parents=True, exist_ok=True)
    if not given.kept:
        for form in given.forms:
            for board in given.boards:
                _run(given, form, board)
    points = [json.loads(place.read_text("utf-8")) for place in sorted(given.scratch.glob("point-*.json"))]
    results = {**circumstances(), "command": COMMAND, "points": points}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    write_page(results, ROOT / "docs" / "residuals.md", COMMAND)


def _run(given: argparse.Namespace, form: str, board: str) -> None:
    wanted = {size: given.scratch / f"point-{form}-{board}-{size.strip('%')}.json" for size in ["0", *given.sizes]}
    if all(place.is_file() for place in wanted.values()):
        return
    scene = Scene(board, form, given.test)
    ends: dict[str, Any] = {"base": scene.accuracies_of(scene.base), "experts": scene.expert_accuracies()}
    for size, place in wanted.items():
        if place.is_file():
            continue
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            for point in _points(scene, Path(folder) / "out", size, given.dtype):
                told = {"form": form, "board": board, "size": size, "dtype": given.dtype, "test": given.test}
                place.write_text(json.dumps({**told, **ends, **point}) + "\n", "utf-8")
                print(json.dumps({**told, **point}), file=sys.stderr, flush=True)


def _points(scene: Scene, output: Path, size: str, dtype: str) -> Iterator[dict[str, Any]]:
    record = scene.merge(output, None if size == "0" else {"size": size, "dtype": dtype})
    merged = merged_weights(output)
    if size == "0":
        yield {"method": record.methods[0].name, "accuracies": scene.accuracies_of(merged)}
        return
    shares, kept = {}, {}
    model = (output / "model.safetensors").stat().st_size
    for task, entry in record.residuals.items():
        scene.load(with_residual(merged, output / entry["folder"]))
        shares[task] = scene.accuracy(task, scene.features(task))
        kept[task] = {"bytes": entry["bytes"] / model, "gap": entry["gap"], "kept": entry["kept"]}
        kept[task]["rank"] = max(entry["ranks"].values())
    yield {"method": record.methods[0].name, "accuracies": shares, "residuals": kept}


if __name__ == "__main__":
    main(sys.argv[1:])
