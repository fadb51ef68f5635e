"""Check MDA's own claims on full fine-tunes: ``python -m benchmarks.studies.geometry`` writes docs/geometry.md.

How far the task directions that a merged model carries are from a simplex equiangular tight frame (``Delta_ETF``), for
every method, for each expert alone, and for the model that was trained on all tasks together; and whether methods that
come closer to the frame keep more accuracy, which the board text-8-full measured.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import spearmanr

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.run import RESULTS as LEADERBOARDS
from mergeometry.conventions.kinds import is_matrix
from mergeometry.diagnostics.frames import deviation
from mergeometry.execution.threads import one_thread
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.linalg.svd import top_directions
from mergeometry.methods import registry
from mergeometry.sources import TensorReader, open_checkpoint
from mergeometry.values import Directions, LowRank
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks, load_full_expert
from mergeometry_suite.joint import load_joint
from mergeometry_suite.staging import read_provenance

BOARD = "text-8-full"
RESULT = ROOT / "benchmarks" / "results" / "geometry.json"
PAGE, COMMAND = ROOT / "docs" / "geometry.md", "python -m benchmarks.studies.geometry"
JOINT = "trained on all tasks"


def overlap(directions: Sequence[Directions]) -> float:
    """Root mean square cosine between left directions of different tasks: 0 where their columns are orthogonal."""
    left = torch.cat([task.left for task in directions], dim=1)
    shared = shared_subspace(directions)
    between_tasks = (left.mT @ left)[~shared.same_task()]
    return float(between_tasks.square().mean().sqrt())


def compared() -> dict[str, Any]:
    """The board's methods that need no data and average the tables: they differ only in how they merge matrices."""
    found = {}
    for item in BOARDS[BOARD].methods:
        name, method = _built(item)
        other = item.get("other", method.others) if isinstance(item, dict) else method.others
        if other == "average" and not method.merges_by:
            found[name] = method
    return found


def measure() -> dict[str, Any]:
    """Every matrix of the encoder merged by every method without data of the board, and how far each is from a frame.

    Raises:
        DataError: an expert or the joint model is not trained.
    """
    found = circumstances()
    tasks = [task.name for task in list_tasks("text-8")]
    methods = compared()
    base = open_checkpoint(backbone(), "base")
    experts = [open_checkpoint(load_full_expert(task).folder, task) for task in tasks]
    joint = load_joint("text-8")
    together = open_checkpoint(joint, "joint")
    layers: dict[str, dict[str, float]] = {}
    shares: dict[str, list[float]] = {}
    with TensorReader() as reader, one_thread():
        names = [name for name, info in base.tensors.items() if is_matrix(name, info.shape)]
        for number, name in enumerate(names, 1):
            origin = reader.read(base.tensors[name])
            deltas = [reader.read(own.tensors[name]) - origin for own in experts]
            if not all(delta.any() for delta in deltas):
                continue  # the pooler, which mean pooling does not run
            say(f"[{number}/{len(names)}] {name}")
            rank = max(1, min(origin.shape) // len(tasks))
            directions = [top_directions(delta, rank) for delta in deltas]
            updates = {JOINT: reader.read(together.tensors[name]) - origin}
            for label, method in methods.items():
                merged = method.for_tensor(0, name, tasks)(deltas)
                updates[label] = merged.dense() if isinstance(merged, LowRank) else merged
            layers[name] = {label: _defined(deviation(update, directions)) for label, update in updates.items()}
            shares[name] = [overlap(directions), math.sqrt(1 / origin.shape[0])]
    accuracy = read_provenance(joint)["accuracy"]
    scores = {task: accuracy[task]["test"] for task in tasks}
    return {"command": COMMAND, **found, "layers": layers, "overlap": shares, "joint": scores}


def correlation(layers: Mapping[str, Mapping[str, float]], kept: Mapping[str, float]) -> dict[str, Any]:
    """Spearman's correlation of deviation and gain kept over methods: of the mean over layers, and layer by layer."""
    names = [name for name in next(iter(layers.values())) if name in kept]
    gains = [kept[name] for name in names]
    means = _means(layers)
    whole = spearmanr([means[name] for name in names], gains)
    each = {layer: spearmanr([own[name] for name in names], gains) for layer, own in layers.items()}
    return {
        "methods": len(names), "correlation": float(whole.statistic), "p": float(whole.pvalue),
        "layers": {layer: [float(one.statistic), float(one.pvalue)] for layer, one in each.items()},
    }  # fmt: skip


def written(found: Mapping[str, Any], board: Mapping[str, Any]) -> str:
    """The table of the figures, and the sentences with them."""
    means = _means(found["layers"])
    rows = {row["name"]: row["at_best"] for row in board["comparison"]["rows"]}
    kept = {name: row["gain_kept"] for name, row in rows.items()}
    base, experts = ([board["comparison"][end][task] for task in found["joint"]] for end in ("base", "experts"))
    joint = (sum(found["joint"].values()) - sum(base)) / (sum(experts) - sum(base))
    lines = [
        "| update | Delta_ETF, mean of the layers | least .. most | gain kept, % |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in sorted(means, key=lambda name: means[name]):
        own = [layer[name] for layer in found["layers"].values()]
        share = f"{100 * joint:.0f}" if name == JOINT else f"{100 * kept[name]:.0f} ± {100 * rows[name]['spread']:.0f}"
        lines.append(f"| {name} | {means[name]:.3f} | {min(own):.3f} .. {max(own):.3f} | {share} |")
    told = correlation(found["layers"], kept)
    strong = [one for one in told["layers"].values() if one[1] < 0.05]
    overlaps: Float64[np.ndarray, "layers 2"] = np.asarray(list(found["overlap"].values()))
    lines += [
        "",
        f"Over {told['methods']} methods, Spearman's correlation of mean Delta_ETF with the gain kept is "
        f"{told['correlation']:.2f} (p = {told['p']:.2g}). Layer by layer it has p < 0.05 in {len(strong)} of "
        f"{len(told['layers'])} layers, where it lies between {_least(strong)} and {_most(strong)}."
        if strong
        else f"Over {told['methods']} methods, Spearman's correlation of mean Delta_ETF with the gain kept is "
        f"{told['correlation']:.2f} (p = {told['p']:.2g}); no layer by itself has p < 0.05.",
        "",
        f"Left directions of different tasks have a root mean square cosine of {overlaps[:, 0].min():.3f} to "
        f"{overlaps[:, 0].max():.3f}; directions drawn at random would have {overlaps[:, 1].min():.3f} to "
        f"{overlaps[:, 1].max():.3f}.",
        "",
        f"{found['date']}, commit {found['commit']}, `{found['command']}`; the gains are of the board {BOARD}, "
        "scored on test texts; the joint model's is of all test texts of its tasks.",
    ]
    return "\n".join(lines) + "\n"


def _defined(value: float | None) -> float:
    assert value is not None, "every expert changed the matrix in as many directions"
    return value


def _built(item: Any) -> tuple[str, Any]:
    if isinstance(item, str):
        return item, registry.build(item, {})
    choice = {"name": item["method"]} if isinstance(item["method"], str) else dict(item["method"])
    return item["name"], registry.build(choice.pop("name"), choice)


def _means(layers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    names = next(iter(layers.values()))
    return {name: math.fsum(own[name] for own in layers.values()) / len(layers) for name in names}


def _least(found: Sequence[Sequence[float]]) -> str:
    return f"{min(one[0] for one in found):.2f}"


def _most(found: Sequence[Sequence[float]]) -> str:
    return f"{max(one[0] for one in found):.2f}"


def on_page(page: str, found: Mapping[str, Any], board: Mapping[str, Any]) -> str:
    """The page with these figures."""
    return between(page, "geometry", written(found, board), COMMAND)


def read(path: Path) -> dict[str, Any]:
    """A saved result."""
    return json.loads(path.read_text("utf-8"))


def main() -> None:
    """Measure where no result is saved or ``--again`` is given, then rewrite the page."""
    if "--again" in sys.argv[1:] or not RESULT.exists():
        RESULT.write_text(json.dumps(measure(), indent=1) + "\n", "utf-8")
    page = on_page(PAGE.read_text("utf-8"), read(RESULT), read(LEADERBOARDS / f"{BOARD}.json"))
    PAGE.write_text(page, "utf-8")
    say(str(PAGE.relative_to(ROOT)))


if __name__ == "__main__":
    main()
