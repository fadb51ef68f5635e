"""The command line: ``python -m benchmarks.studies.few_inputs --counts 1 2 4 8 16 32 128 --seeds 0 1 2``.

Every point is kept as soon as it is scored, so that an interrupted study goes on; ``--kept`` runs nothing and writes
the results of the points that there are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

import mergeometry as mg
from benchmarks.speed.machine import circumstances, processor_seconds
from benchmarks.studies.few_inputs.calibrate import Calibration, Ridge
from benchmarks.studies.few_inputs.kinds import Drawn
from benchmarks.studies.few_inputs.page import COMMAND, write_page
from benchmarks.studies.few_inputs.picture import drawn
from benchmarks.studies.few_inputs.points import Point, families, is_curve, joined, picture_of
from benchmarks.studies.few_inputs.scene import Scene
from benchmarks.studies.scores import read_weights

ROOT = Path(__file__).parents[3]
WORK = ROOT / "benchmarks" / "scratch" / "few_inputs"
RESULTS = ROOT / "benchmarks" / "results" / "few_inputs.json"
TASKS = ("r8", "trec", "language")
COUNTS = (1, 2, 4, 8, 16, 32, 128)

WITHOUT = ("auto", "ties")
"""Merges without data: what is chosen where no method is named, and one by name."""
EARLIER = {"method": "tsv_m", "scale": 0.3, "adapt": {"coefficients": "pair", "check_every": 20}}
"""Pairs from a merge that is named, checked every 20 steps."""

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ties": {"method": "ties"},
    "learned": {"adapt": {}},
    "learned, earlier defaults": EARLIER,
    "learned, tensor": {"adapt": {"coefficients": "tensor"}},
    "regmean": {"method": "regmean", "scale": 1.0, "data": {}},
    "esm": {"method": "esm", "scale": 1.0, "data": {}},
}
CALIBRATED: Mapping[str, Ridge] = {
    "calibrated": Ridge(),
    "calibrated, 0.6 of each update": Ridge(strength=0.3, update=0.6),
}
"""At the strength and the share that the authors of FeatCal give; and to experts nearer to the merge, chosen on
validation texts among 0.6, 0.8 and 1 of the update, and four strengths."""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.few_inputs", description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--arms", nargs="*", default=list(dict.fromkeys([*WITHOUT, *RECIPES, *CALIBRATED])))
    parser.add_argument("--counts", nargs="*", type=int, default=list(COUNTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--trained", type=int, default=0, help="training seed of the experts")
    parser.add_argument("--drawn", choices=get_args(Drawn), default="new", help="inputs: new to the experts or not")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--test", type=int, default=400, help="test inputs per task")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not given.kept:
        _run(given)
    earlier = json.loads(RESULTS.read_text("utf-8"))["points"] if RESULTS.is_file() else []
    points = joined(earlier, [json.loads(place.read_text("utf-8")) for place in sorted(WORK.glob("*.json"))])
    kept = {**circumstances(), "command": COMMAND, "points": points}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    write_page(kept, ROOT / "docs" / "learning.md")
    for own in filter(is_curve, families(points)):
        (ROOT / "docs" / "pictures" / picture_of(own)).write_text(drawn(own), "utf-8")


def _run(given: argparse.Namespace) -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    scene = Scene(given.tasks, given.test, given.drawn, given.trained)
    free = [arm for arm in given.arms if arm in WITHOUT]
    fed = [arm for arm in given.arms if arm not in WITHOUT]
    points = [(arm, 0, 0) for arm in free]
    points += [(arm, count, seed) for seed in given.seeds for count in given.counts for arm in fed]
    for arm, count, seed in points:
        told = {"tasks": given.tasks, "arm": arm, "count": count, "seed": seed, "test": given.test}
        told |= {"kind": scene.kind.name, "drawn": given.drawn, "trained": given.trained}
        steps = {"steps": given.steps} if arm.startswith("learned") else {}
        place = WORK / _file({**told, **steps})
        if place.is_file():
            continue
        before = processor_seconds()
        outcome = _calibrated(scene, arm, count, seed) if arm in CALIBRATED else _merged(scene, arm, count, seed, steps)
        ends = {"ends": scene.expert_ends} if arm in WITHOUT else {}
        result = {**told, **steps, **outcome, **ends, "processor_seconds": round(processor_seconds() - before, 1)}
        place.write_text(json.dumps(result) + "\n", "utf-8")
        print(json.dumps(result), file=sys.stderr, flush=True)


def _file(point: Point) -> str:
    """The name of the file that a point is kept in."""
    tasks = point["tasks"]
    named = "-".join(tasks) if len(tasks) < 5 else str(len(tasks))
    told = [point[key] for key in ("drawn", "trained", "arm", "count", "seed", "steps") if key in point]
    return "-".join(map(str, [point["kind"], named, *told])).replace(", ", "_").replace(" ", "_") + ".json"


def _merged(scene: Scene, arm: str, count: int, seed: int, steps: Mapping[str, int]) -> dict[str, Any]:
    """Merge by a recipe, as a user would, and score its output."""
    keys = {key: dict(value) if isinstance(value, Mapping) else value for key, value in RECIPES.get(arm, {}).items()}
    with tempfile.TemporaryDirectory() as folder:
        places = scene.write(Path(folder) / "inputs", count, seed) if count else {}
        if "adapt" in keys:
            keys["adapt"] = scene.learned_on(places, {**steps, **keys["adapt"]})
        if "data" in keys:
            keys["data"] = {"encoder": dict(scene.kind.encoder), "tasks": places}
        record = mg.merge({**scene.scores.recipe(), **keys, "seed": seed}, Path(folder) / "out", workers=1)
        accuracies = scene.scores.accuracies(read_weights(Path(folder) / "out"))
    learned = record.adapt or {}
    told = ("coefficients", "strengths", "kept_step", "held_out", "agreement")
    facts = {key: learned[key] for key in told if key in learned}
    return {"accuracies": accuracies, **({"learned": facts} if facts else {})}


def _calibrated(scene: Scene, arm: str, count: int, seed: int) -> dict[str, Any]:
    """Calibrate the merge without data."""
    inputs = {task: scene.draw(task, count, seed) for task in scene.experts}
    ridge, base = CALIBRATED[arm], read_weights(scene.scores.base)
    experts = {task: _nearer(read_weights(own.folder), base, ridge.update) for task, own in scene.experts.items()}
    weights = Calibration(scene.kind.layers(), inputs, experts).calibrated(scene.merged, ridge)
    return {"accuracies": scene.scores.accuracies(weights)}


def _nearer(expert: Mapping[str, Tensor], base: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """An expert with a share of its update."""
    return {name: torch.lerp(base[name], weight, share) for name, weight in expert.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
