"""The command line: ``python -m benchmarks.studies.routing --boards text-8 text-14``.

Every board is kept as soon as it is measured; ``--kept`` runs nothing and writes the page. The hidden state and the
shrinkage of a router were chosen on validation texts of eight tasks, and nothing on test texts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from benchmarks.speed.machine import circumstances
from benchmarks.studies.residuals.scene import Scene
from benchmarks.studies.routing.page import on_page
from benchmarks.studies.routing.scene import Routed, argmax
from benchmarks.studies.routing.without_data import Energies, by_words, word_moves
from mergeometry.routing.discriminant import discriminant
from mergeometry.routing.features import middle_of, task_features
from mergeometry_suite.backbone import backbone

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "routing.json"
PAGE = ROOT / "docs" / "residuals.md"
COMMAND = "python -m benchmarks.studies.routing"
COUNTS = (8, 32, 128)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--boards", nargs="*", default=["text-8", "text-14"])
    parser.add_argument("--size", default="1%", help="of each residual")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--test", type=int, default=200, help="test texts per task")
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "routing")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.scratch.mkdir(parents=True, exist_ok=True)
    for board in [] if given.kept else given.boards:
        place = given.scratch / f"{board}.json"
        if not place.is_file():
            place.write_text(json.dumps(_measured(given, board)) + "\n", "utf-8")
    boards = [json.loads(place.read_text("utf-8")) for place in given.scratch.glob("text-*.json")]
    results = {**circumstances(), "command": COMMAND, "boards": sorted(boards, key=lambda board: len(board["base"]))}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), results, COMMAND), "utf-8")


def _measured(given: argparse.Namespace, board: str) -> dict[str, Any]:
    scene, folder = Scene(board, "full", given.test), given.scratch / f"merged-{board}"
    if not folder.exists():
        scene.merge(folder, {"size": given.size, "dtype": "float16"})
    told: dict[str, Any] = {"board": board, "size": given.size, "test": given.test, "draws": given.draws}
    told["base"] = scene.accuracies_of(scene.base)
    told["experts"] = scene.expert_accuracies()
    routed = Routed(scene, folder, given.test)
    told["merged"] = scene.accuracies_of(routed.merged)
    model: Any = AutoModel.from_pretrained(folder).eval()
    own = list(range(len(routed.tasks)))
    arms: dict[str, Any] = {
        "by name": {task: [own[n]] * len(scene.labels(task)) for n, task in enumerate(routed.tasks)}
    }
    layer = middle_of(model)
    seen = {
        task: torch.cat([task_features(model, one, layer) for one in routed.batches(task)]) for task in routed.tasks
    }
    for draw in range(given.draws):
        drawn = [task_features(model, routed.drawn(task, max(COUNTS), draw), layer) for task in routed.tasks]
        for count in COUNTS:
            weight, bias = discriminant([features[:count] for features in drawn])
            arms[f"{count} inputs, draw {draw}"] = {
                task: argmax([features.double() @ weight.T + bias]) for task, features in seen.items()
            }
    energies = Energies(model, routed.folders)
    moves = word_moves(backbone(), [scene.experts[task].folder for task in routed.tasks])
    directions = {task: torch.cat([energies.scores(one) for one in routed.batches(task)]) for task in routed.tasks}
    words = {task: torch.cat([by_words(moves, one) for one in routed.batches(task)]) for task in routed.tasks}
    arms["directions"] = {task: argmax([scores]) for task, scores in directions.items()}
    arms["words"] = {task: argmax([scores]) for task, scores in words.items()}
    routed.score(arms)
    told["arms"] = {name: routed.figures(chosen) for name, chosen in arms.items()}
    print(
        json.dumps({name: sum(one["routed"].values()) / len(own) for name, one in told["arms"].items()}),
        file=sys.stderr,
    )
    return told


if __name__ == "__main__":
    main(sys.argv[1:])
