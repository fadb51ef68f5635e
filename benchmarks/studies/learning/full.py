"""``python -m benchmarks.studies.learning.full``: MDA's Algorithm 2 and what it is compared with, on full fine-tunes.

Eight full fine-tunes of the text suite, with experts of several training seeds. Learning sees training texts without
labels; test texts are scored once. Methods, starts and settings are those of the rows on adapters, except that scales
come from the validation texts of the board ``text-8-full``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import mergeometry as mg
from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances, processor_seconds
from benchmarks.speed.measure import ROOT
from benchmarks.studies.few_inputs.scene import Scene
from benchmarks.studies.learning.rows import MDA
from benchmarks.studies.text_scores import read_weights
from mergeometry.encoders.heads import read_head
from mergeometry.recipe.inputs import HeadSource
from mergeometry_suite.tasks import TEXT_8

COMMAND = "python -m benchmarks.studies.learning.full"
RESULTS = ROOT / "benchmarks" / "results" / "learning_full.json"
WORK = ROOT / "benchmarks" / "scratch" / "learning_full"
TEXTS, TEST = 600, 400

_START = {"method": MDA, "scale": 0.75}
_SHORT = {"steps": 40, "batch_size": 8, "patience": 0, "check_every": 20}
_MDA = {**_SHORT, "objective": "mda"}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "own_blocks (`auto`), no learning": {},
    "mda directions, scale 0.75, no learning": _START,
    "AdaMerging, layer-wise": {
        "method": "adamerging", "scale": 0.3, "adapt": {**_SHORT, "objective": "adamerging", "coefficients": "layer"},
    },
    "MDA, coefficients only": {**_START, "adapt": {**_MDA, "coefficients": "shared-layer", "rotation": "none"}},
    "MDA, rotations only": {**_START, "adapt": {**_MDA, "coefficients": "fixed"}},
    "MDA, both": {**_START, "adapt": {**_MDA, "coefficients": "shared-layer"}},
    "MDA, both, a coefficient per task and layer": {**_START, "adapt": {**_MDA, "coefficients": "layer"}},
    "distill by the defaults, 60 steps": {"adapt": {"steps": 60}},
}  # fmt: skip


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--trained", nargs="*", type=int, default=[0, 1, 2], help="training seeds of the experts")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not given.kept:
        for seed in given.trained:
            _run(seed, given.rows)
        runs = [json.loads(place.read_text("utf-8")) for place in sorted(WORK.glob("*.json"))]
        kept = {**circumstances(), "command": COMMAND, "texts": TEXTS, "test": TEST, "runs": runs}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    page = ROOT / "docs" / "learning.md"
    page.write_text(on_page(page.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))), "utf-8")


def _run(seed: int, rows: Sequence[str]) -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    scene = Scene(TEXT_8, TEST, "trained on", seed)
    for number, (name, keys) in enumerate(ROWS.items()):
        place = WORK / f"{seed}-{number}.json"
        if name in rows and not place.is_file():
            told = {"row": name, "seed": seed, **_measured(scene, keys, seed), "ends": scene.expert_ends}
            place.write_text(json.dumps(told) + "\n", "utf-8")
            print(json.dumps(told), file=sys.stderr, flush=True)


def _measured(scene: Scene, keys: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Merge by a recipe, as a user would, and score its output with the heads that it writes."""
    before = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        out, recipe = Path(folder) / "out", {**scene.recipe(), **keys, "seed": seed}
        if "adapt" in keys:
            places = scene.write(Path(folder) / "texts", TEXTS, seed)
            recipe["adapt"] = scene.learned_on(places, keys["adapt"])
        record = mg.merge(recipe, out, workers=1)
        took = processor_seconds() - before
        width = next(iter(scene.experts.values())).head.weight.shape[1]
        heads = {
            task: read_head(HeadSource(path=str(place)), task, width)
            for task in scene.experts
            if (place := out / "heads" / f"{task}.safetensors").is_file()
        }
        accuracies = scene.accuracies(read_weights(out), heads=heads)
    learned = record.adapt or {}
    return {
        "accuracies": accuracies,
        "processor_seconds": round(took, 1),
        "learned": {key: learned[key] for key in ("learned_numbers", "kept_step", "agreement") if key in learned},
    }


def on_page(page: str, found: Mapping[str, Any]) -> str:
    """The page with the table of these results."""
    return between(page, "full fine-tunes", f"{table(found)}\n", COMMAND)


def table(found: Mapping[str, Any]) -> str:
    """A row per way to merge: the gain kept with each training seed's experts, its mean and spread."""
    seeds = sorted({run["seed"] for run in found["runs"]})
    head = ["gain kept, %", *(f"seed {seed}" for seed in seeds), "mean", "accuracy, %", "processor minutes"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for name in ROWS:
        own = {run["seed"]: run for run in found["runs"] if run["row"] == name}
        if not own:
            continue
        shares = {seed: _kept(run) for seed, run in own.items()}
        spread = f" ± {stdev(shares.values()):.0f}" if len(shares) > 1 else ""
        cells = [f"{shares[seed]:.0f}" if seed in shares else "–" for seed in seeds]
        accuracy = 100 * mean(mean(run["accuracies"].values()) for run in own.values())
        minutes = min(run["processor_seconds"] for run in own.values()) / 60
        lines.append(
            f"| {name} | {' | '.join(cells)} | {mean(shares.values()):.0f}{spread} | {accuracy:.1f} | {minutes:.1f} |"
        )
    told = (
        f"{found['test']} test texts per task, learned from {found['texts']} of those that the experts were trained "
        f"on; ± is the standard deviation between training seeds; `{found['command']}`, {found['date']}; "
        f"{found['machine']['cpu']}, one core that other work shared."
    )
    return "\n".join([*lines, "", told])


def _kept(run: Mapping[str, Any]) -> float:
    base, experts = (mean(run["ends"][side].values()) for side in ("base", "experts"))
    return 100 * (mean(run["accuracies"].values()) - base) / (experts - base)


if __name__ == "__main__":
    main(sys.argv[1:])
