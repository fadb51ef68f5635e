"""How sure a router is: ``python -m benchmarks.studies.routing.unsure``; ``--kept`` writes the page alone.

Eight adapters of texts are merged; routers are fitted to training texts. Texts of six other tasks belong to none of
theirs. Nothing is chosen here: the divisor of scores is found from the router's own inputs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

import mergeometry as mg
from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from mergeometry.routing.confidence import confidence
from mergeometry.routing.discriminant import discriminant
from mergeometry.routing.features import middle_of, task_features
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import load_expert
from mergeometry_suite.tasks import TEXT_8, TEXT_14, load

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "routing-unsure.json"
PAGE = ROOT / "docs" / "residuals.md"
COMMAND = "python -m benchmarks.studies.routing.unsure"
COUNTS = (8, 32)
LEVELS = (0.5, 0.8, 0.9)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--test", type=int, default=100, help="test texts per task")
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "routing")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the page of the earlier run")
    given = parser.parse_args(arguments)
    if not given.kept:
        torch.set_num_threads(1)
        RESULTS.write_text(json.dumps(_measured(given), indent=1) + "\n", "utf-8")
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))), "utf-8")


def with_table(text: str, results: Mapping[str, Any]) -> str:
    """The page with the table of these results."""
    return between(text, "unsure", "\n".join(_lines(results)) + "\n", COMMAND)


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    folder = given.scratch / "merged-adapters"
    if not folder.exists():
        models = [{"path": str(load_expert(task).folder), "name": task} for task in TEXT_8]
        recipe = {"base": str(backbone()), "models": models, "output": {"residuals": {"rank": 4}}}
        mg.merge(recipe, folder, workers=1)
    model: Any = AutoModel.from_pretrained(folder).eval()
    tokenizer, layer = AutoTokenizer.from_pretrained(folder), middle_of(model)

    def features(texts: tuple[str, ...]) -> Tensor:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt")
        return task_features(model, dict(batch), layer).double()

    own = {task: load(task) for task in TEXT_8}
    fitted_to = {task: features(one.train.texts[: given.draws * max(COUNTS)]) for task, one in own.items()}
    seen = {task: features(one.test.texts[: given.test]) for task, one in own.items()}
    strange = {task: features(load(task).test.texts[: given.test]) for task in TEXT_14 if task not in TEXT_8}
    draws = [
        {
            "inputs": count,
            "draw": draw,
            **_figures([one[draw :: given.draws][:count] for one in fitted_to.values()], seen, strange),
        }
        for count in COUNTS
        for draw in range(given.draws)
    ]
    return {**circumstances(), "command": COMMAND, "test": given.test, "draws": draws, "strange": list(strange)}


def _figures(groups: list[Tensor], seen: Mapping[str, Tensor], strange: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a router of these groups says of texts of its tasks and of others, and how often it is right."""
    weight, bias = discriminant(groups)
    divisor, held_out = confidence(groups)
    scores = torch.cat([one @ weight.T + bias for one in seen.values()])
    right = scores.argmax(dim=1) == torch.cat([torch.full((len(one),), n) for n, one in enumerate(seen.values())])
    most = torch.softmax(scores / divisor, dim=1).amax(dim=1)
    others = {
        task: torch.softmax((one @ weight.T + bias) / divisor, dim=1).amax(dim=1) for task, one in strange.items()
    }
    return {
        "divisor": divisor,
        "held_out": held_out,
        "right": _share(right),
        "sure": float(most.mean()),
        "sure_undivided": float(torch.softmax(scores, dim=1).amax(dim=1).mean()),
        "levels": {
            str(level): {
                "unsure": _share(most < level),
                "unsure_of_wrong": _share(most[~right] < level),
                "right_where_sure": _share(right[most >= level]),
                "strange": {task: _share(one < level) for task, one in others.items()},
            }
            for level in LEVELS
        },
    }


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| inputs per task | right, % | says on average, % | `at_least` | unsure, % | of these wrongly named | "
        "right of the rest, % | unsure of texts of no task, % |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for count in COUNTS:
        draws = [one for one in results["draws"] if one["inputs"] == count]
        for level in LEVELS:
            at = [one["levels"][str(level)] for one in draws]
            wrong = [
                one["levels"][str(level)]["unsure_of_wrong"] * (1 - one["right"]) / one["levels"][str(level)]["unsure"]
                for one in draws
            ]
            strange = [mean(one["strange"][task] for one in at) for task in results["strange"]]
            cells = [
                _percent(one["right"] for one in draws),
                _percent(one["sure"] for one in draws),
                str(level),
                _percent(one["unsure"] for one in at),
                f"{_percent(wrong)} %",
                _percent(one["right_where_sure"] for one in at),
                f"{_percent(strange)} ({100 * min(strange):.0f} to {100 * max(strange):.0f})",
            ]
            yield f"| {count} | {' | '.join(cells)} |"
    draws = [one for one in results["draws"] if one["inputs"] == max(COUNTS)]
    yield ""
    yield (
        f"Eight adapters of texts, {results['test']} test texts per task and of each of six other tasks "
        f"({', '.join(results['strange'])}), means over {len(draws)} draws of the inputs; in brackets the least and "
        f"the most of the six. Scores as they are would say {_percent(one['sure_undivided'] for one in draws)} % on "
        f"average after {max(COUNTS)} inputs. `{results['command']}`, {results['date']}; {results['machine']['cpu']}."
    )


def _percent(shares: Any) -> str:
    return f"{100 * mean(shares):.0f}"


if __name__ == "__main__":
    main(sys.argv[1:])
