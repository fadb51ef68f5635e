"""The command line: ``python -m benchmarks.studies.synthetic "text adapters" --arms made auto``.

Every arm is kept as soon as it is scored; ``--kept`` runs nothing and writes the results of the arms that there are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import mergeometry as mg
from benchmarks.speed.machine import circumstances, processor_seconds
from benchmarks.studies.synthetic.board import BOARDS, Board
from benchmarks.studies.synthetic.page import write_page
from benchmarks.studies.synthetic.picture import write_sheet

ROOT = Path(__file__).parents[3]
WORK = ROOT / "benchmarks" / "scratch" / "synthetic"
RESULTS = ROOT / "benchmarks" / "results" / "synthetic.json"
INPUTS = 512

ARMS: dict[str, dict[str, Any] | None] = {
    "auto": None,
    "made": {"data": {"synthetic": INPUTS}},
    "made, features": {"data": {"synthetic": INPUTS}, "objective": "distill"},
    "read": {},
    "read, logits": {"objective": "logits"},
}
"""The `adapt:` section of each arm; those named `read` get the tasks' own training inputs, `auto` learns nothing."""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.synthetic", description=__doc__)
    parser.add_argument("boards", nargs="*", default=list(BOARDS), metavar="BOARD", help=", ".join(BOARDS))
    parser.add_argument("--arms", nargs="*", default=["auto", "made", "read, logits"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--start", choices=["auto", "tsv_m"], default="auto")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    for board in [] if given.kept else given.boards:
        _run(Board(board), given)
    points = [json.loads(place.read_text("utf-8")) for place in sorted(WORK.glob("*.json"))]
    kept = {**circumstances(), "command": "python -m benchmarks.studies.synthetic", "points": points}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    write_page(kept, ROOT / "docs" / "synthetic.md")
    write_sheet(ROOT / "docs" / "pictures" / "drawings.webp")


def _run(board: Board, given: argparse.Namespace) -> None:
    for arm in given.arms:
        for seed in given.seeds if ARMS[arm] is not None else [0]:
            name = f"{board.name.replace(' ', '_')}-{arm.replace(', ', '_')}-{given.start}-{given.steps}-{seed}"
            place = WORK / f"{name}.json"
            if place.is_file():
                continue
            before = processor_seconds()
            outcome = _merged(board, arm, seed, given)
            took = round(processor_seconds() - before, 1)
            told = {"board": board.name, "arm": arm, "seed": seed, "start": given.start, "steps": given.steps}
            result = {**told, **outcome, "processor_seconds": took, "ends": board.expert_ends}
            place.write_text(json.dumps(result) + "\n", "utf-8")
            print(json.dumps(result), file=sys.stderr, flush=True)


def _merged(board: Board, arm: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Merge by a recipe, as a user would, and score its output."""
    recipe = {**board.scores.recipe(), "seed": seed}
    if given.start == "tsv_m":
        recipe |= {"method": "tsv_m", "scale": 0.5}
    learning = ARMS[arm]
    with tempfile.TemporaryDirectory() as folder:
        if learning is not None:
            read = {"limit": INPUTS} if arm.startswith("read") else None
            tasks = board.tasks(Path(folder) / "inputs", read)
            keys = {"encoder": board.kind.encoder, "steps": given.steps, "patience": 0}
            if given.start == "tsv_m":
                keys["coefficients"] = "pair"
            recipe["adapt"] = {**keys, **learning, "tasks": tasks}
        record = mg.merge(recipe, Path(folder) / "out", workers=1)
        accuracies = board.scores.accuracies(board.weights(Path(folder) / "out"))
    facts = record.adapt or {}
    kept = {key: facts[key] for key in ("kept_step", "coefficients", "held_out", "agreement", "data") if key in facts}
    return {"accuracies": accuracies, **({"learned": kept} if kept else {})}


if __name__ == "__main__":
    main(sys.argv[1:])
