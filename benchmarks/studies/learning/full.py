"""``python -m benchmarks.studies.learning.full``: MDA's Algorithm 2 and what it is compared with, on full fine-tunes.

Full fine-tunes of the text and the vision suite, with experts of several training seeds. Learning sees training inputs
without labels; test inputs are scored once. Methods, starts and settings are those of the rows on adapters, except that
scales come from the validation inputs of the boards ``text-8-full`` and ``vision-6-full``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import mergeometry as mg
from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances, processor_seconds
from benchmarks.speed.measure import ROOT
from benchmarks.studies.few_inputs.scene import Scene
from benchmarks.studies.learning.full_boards import FULL_BOARDS, Board
from benchmarks.studies.scores import read_weights
from mergeometry.encoders.heads import read_head
from mergeometry.recipe.inputs import HeadSource

COMMAND = "python -m benchmarks.studies.learning.full"
RESULTS = ROOT / "benchmarks" / "results" / "learning_full.json"
WORK = ROOT / "benchmarks" / "scratch" / "learning_full"
INPUTS, TEST = 600, 400

Run = Mapping[str, Any]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--suites", nargs="*", default=list(FULL_BOARDS), choices=list(FULL_BOARDS), metavar="SUITE")
    parser.add_argument("--trained", nargs="*", type=int, default=[0, 1, 2], help="training seeds of the experts")
    parser.add_argument("--rows", nargs="*", default=None, metavar="ROW", help="all by default")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    earlier = json.loads(RESULTS.read_text("utf-8"))["runs"] if RESULTS.is_file() else []
    if not given.kept:
        for suite in given.suites:
            for seed in given.trained:
                _run(suite, seed, given.rows)
        later = [json.loads(place.read_text("utf-8")) for place in sorted(WORK.glob("*.json"))]
        runs = [*{(run["suite"], run["row"], run["seed"]): run for run in (*earlier, *later)}.values()]
        kept = {**circumstances(), "command": COMMAND, "inputs": INPUTS, "test": TEST, "runs": runs}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    page = ROOT / "docs" / "learning.md"
    page.write_text(on_page(page.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))), "utf-8")


def _run(suite: str, seed: int, rows: Sequence[str] | None) -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    board = FULL_BOARDS[suite]
    scene = Scene(board.tasks, TEST, "trained on", seed)
    for number, (name, keys) in enumerate(board.rows().items()):
        place = WORK / f"{suite}-{seed}-{number}.json"
        if (rows is None or name in rows) and not place.is_file():
            ends = {"ends": scene.expert_ends}
            told = {"suite": suite, "row": name, "seed": seed, **_measured(scene, keys, seed), **ends}
            place.write_text(json.dumps(told) + "\n", "utf-8")
            print(json.dumps(told), file=sys.stderr, flush=True)


def _measured(scene: Scene, keys: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Merge by a recipe, as a user would, and score its output with the heads that it writes."""
    before = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        out, recipe = Path(folder) / "out", {**scene.scores.recipe(), **keys, "seed": seed}
        if "adapt" in keys:
            places = scene.write(Path(folder) / "inputs", INPUTS, seed)
            recipe["adapt"] = scene.learned_on(places, keys["adapt"])
        record = mg.merge(recipe, out, workers=1)
        took = processor_seconds() - before
        width = next(iter(scene.experts.values())).head.weight.shape[1]
        heads = {
            task: read_head(HeadSource(path=str(place)), task, width)
            for task in scene.experts
            if (place := out / "heads" / f"{task}.safetensors").is_file()
        }
        accuracies = scene.scores.accuracies(read_weights(out), heads=heads)
    learned = record.adapt or {}
    return {
        "accuracies": accuracies,
        "processor_seconds": round(took, 1),
        "learned": {key: learned[key] for key in ("learned_numbers", "kept_step", "agreement") if key in learned},
    }


def on_page(page: str, found: Mapping[str, Any]) -> str:
    """The page with a table of these results for each board that was run."""
    for suite, board in FULL_BOARDS.items():
        if runs := [run for run in found["runs"] if run["suite"] == suite]:
            page = between(page, board.mark, f"{table(board, runs, found)}\n", COMMAND)
    return page


def table(board: Board, runs: Iterable[Run], found: Mapping[str, Any]) -> str:
    """A row per way to merge: the gain kept with each training seed's experts, its mean and spread."""
    runs = list(runs)
    seeds = sorted({run["seed"] for run in runs})
    head = ["gain kept, %", *(f"seed {seed}" for seed in seeds), "mean", "accuracy, %", "processor minutes"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for name in board.rows():
        own = {run["seed"]: run for run in runs if run["row"] == name}
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
    spread = "± is the standard deviation between training seeds; " if len(seeds) > 1 else ""
    told = (
        f"{found['test']} test {board.inputs} per task, learned from {found['inputs']} of those that the experts were "
        f"trained on; {spread}`{found['command']}`, {found['date']}; "
        f"{found['machine']['cpu']}, one core that other work shared."
    )
    return "\n".join([*lines, "", told])


def _kept(run: Run) -> float:
    base, experts = (mean(run["ends"][side].values()) for side in ("base", "experts"))
    return 100 * (mean(run["accuracies"].values()) - base) / (experts - base)


if __name__ == "__main__":
    main(sys.argv[1:])
