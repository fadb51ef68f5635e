"""Why a handful of inputs misleads: how sure a merge is, and what its inputs can tell.

``python -m benchmarks.studies.few_inputs.diagnose`` compares the merge without data with each expert, on inputs that
the expert was trained on and on new ones, and moves each head's bias so that its mean logits are the expert's: at the
expert's own size, and at the merge's. Accuracies are of validation texts; nothing here looks at test texts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.studies.few_inputs.kinds import Drawn
from benchmarks.studies.few_inputs.scene import Scene
from benchmarks.studies.scores import read_weights
from benchmarks.studies.text_scores import LENGTH
from mergeometry.encoders.heads import Head, accuracy
from mergeometry.learning.strength import strength
from mergeometry_suite.backbone import backbone
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import TEXT_8, load

COMMAND = "python -m benchmarks.studies.few_inputs.diagnose"
ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "few_inputs_diagnosis.json"
COUNT = 32

Features = Float[Tensor, "texts d"]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TEXT_8))
    parser.add_argument("--trained", nargs="*", type=int, default=[0], help="training seeds of the experts")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the page of earlier results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not given.kept:
        found = {str(seed): _diagnosis(given.tasks, seed) for seed in given.trained}
        told = {**circumstances(), "command": COMMAND, "count": COUNT, "tasks": given.tasks, "seeds": found}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    page = ROOT / "docs" / "learning.md"
    results = json.loads(RESULTS.read_text("utf-8"))
    page.write_text(between(page.read_text("utf-8"), "few inputs, why", table(results) + "\n", COMMAND), "utf-8")


def _diagnosis(tasks: list[str], trained: int) -> dict[str, Any]:
    scenes = {drawn: Scene(tasks, 1, drawn, trained) for drawn in get_args(Drawn)}
    encoder, tokenizer = Encoder(backbone()), Tokenizer(backbone(), LENGTH)
    scene = scenes["new"]

    def features(task: str) -> dict[str, Features]:
        drawn = {name: tokenizer.prepare(one.draw(task, COUNT, 0)) for name, one in scenes.items()}
        return {name: encoder.encode(texts) for name, texts in drawn.items()}

    encoder.load(scene.merged)
    merged = {task: features(task) for task in tasks}
    checked = {task: encoder.encode(tokenizer.prepare(load(task).validation.texts)) for task in tasks}
    result = {}
    for task in tasks:
        encoder.load(read_weights(scene.experts[task].folder))
        expert, head, labels = features(task), scene.experts[task].head, load(task).validation.labels
        result[task] = {name: _compared(head, merged[task][name], expert[name]) for name in scenes}
        of_known = merged[task]["trained on"], expert["trained on"]
        factor = result[task]["trained on"]["strength"]
        result[task]["accuracy"] = {
            "as it is": accuracy(head, checked[task], labels),
            "full strength": accuracy(_moved(head, *of_known, 1.0), checked[task], labels),
            "own strength": accuracy(_moved(head, *of_known, factor), checked[task], labels),
        }
    return result


def _compared(head: Head, merged: Features, expert: Features) -> dict[str, float]:
    same = (head.predict(merged) == head.predict(expert)).double().mean()
    return {"strength": strength(head.logits(merged), head.logits(expert)), "agreement": float(same)}


def _moved(head: Head, merged: Features, expert: Features, factor: float) -> Head:
    """The head with a bias that gives the merge the expert's mean logits, times the factor."""
    return Head(head.weight, head.bias + (factor * head.logits(expert) - head.logits(merged)).mean(dim=0))


def table(results: Mapping[str, Any]) -> str:
    """A row per training seed of the experts, each a mean over tasks."""
    columns = (
        "experts' seed", "size of the merge's logits, % of the experts'", "agreement, inputs trained on, %",
        "agreement, new inputs, %", "accuracy", "bias moved to the experts' logits",
        "to their logits at the merge's size",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|" + " ---: |" * len(columns)]
    for seed, tasks in results["seeds"].items():
        known, new = ([task[name] for task in tasks.values()] for name in ("trained on", "new"))
        cells = [f"{100 * mean(one['strength'] for one in new):.0f}"]
        cells += [f"{100 * mean(one['agreement'] for one in side):.1f}" for side in (known, new)]
        for name in ("as it is", "full strength", "own strength"):
            cells.append(f"{100 * mean(task['accuracy'][name] for task in tasks.values()):.1f}")
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    told = f"`{COMMAND}`, {results['date']}; {results['machine']['cpu']}."
    return "\n".join([*lines, "", f"Means over {len(results['tasks'])} tasks, {results['count']} inputs each; {told}"])


if __name__ == "__main__":
    main(sys.argv[1:])
