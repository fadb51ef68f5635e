"""The figures on inputs of every merge of a board, on validation inputs; what it lost is recorded on test inputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import say
from benchmarks.studies.calibration.boards import RESULTS, SCRATCH, entries_of, recorded, scales_of, setup_of
from benchmarks.studies.calibration.scoring import Bench
from mergeometry.comparison.read_inputs import VALIDATION
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.scoring import moved_weights
from mergeometry.comparison.setup import Setup
from mergeometry.encoders import Inputs
from mergeometry.encoders.heads import Head
from mergeometry.encoders.sites import Site, expert_weights, sites_of
from mergeometry.execution.threads import one_thread
from mergeometry.feature_figures.answers import Answers, answers
from mergeometry.feature_figures.figures import against_expert, of_expert
from mergeometry.feature_figures.load import TaskInputs
from mergeometry.inputs.labels import LabelledData
from mergeometry.inspection.on_inputs import ModelOnInputs

INPUTS = {"text-8-adapters": 100, "text-8-full": 40, "vision": 60, "vision-6-full": 60}
"""Boards to the labelled validation inputs of each task that every merge runs on."""

COLLAPSE = ("nc1", "nc2_lengths", "nc2_angles", "nc3", "nc4")


@dataclass(frozen=True)
class Watched(Head):
    """A head that keeps the features it is given: the controls need them, and nothing runs twice."""

    seen: list[Tensor] = field(default_factory=list)

    def logits(self, features: Float[Tensor, "texts d"]) -> Float[Tensor, "texts classes"]:
        """The head's own logits."""
        self.seen.append(features.float())
        return super().logits(features)


@dataclass(frozen=True, slots=True)
class Run:
    """What a model answers on one task's inputs, and its features in the order in which they came."""

    answers: Answers
    features: Float[Tensor, "inputs d"]


@dataclass(slots=True)
class Bed:
    """The encoder of a board with the validation inputs of every task."""

    setup: Setup
    scorer: Scorer
    sites: list[Site]

    @classmethod
    def of(cls, setup: Setup) -> Bed:
        """Build the encoder once."""
        scorer = Scorer(setup.plans[0].base, setup.tasks.encoder, {VALIDATION: setup.splits[VALIDATION]})
        return cls(setup, scorer, sites_of(setup.plans[0], scorer.encoder))

    def task(self, name: str) -> TaskInputs:
        """A task as `mergeometry report --data` reads it."""
        one = self.setup.splits[VALIDATION][name]
        assert isinstance(one.data, LabelledData)
        return TaskInputs(name, self.setup.seen.index(name), VALIDATION, one.data, one.head)

    def inputs(self, name: str) -> Inputs:
        """Its inputs as the encoder takes them."""
        return self.scorer.inputs(VALIDATION, name)

    def run(self, name: str) -> Run:
        """Run the loaded model on a task."""
        task = self.task(name)
        assert task.head is not None
        head = Watched(task.head.weight, task.head.bias)
        with one_thread(), torch.inference_mode():
            given = answers(self.scorer.encoder, {}, self.inputs(name), head, task.labels)
        return Run(given, torch.cat(head.seen))


def measure_on_inputs(name: str) -> None:
    """Merge by every row of a board again, run each merge on every task, and keep the figures next to the scores.

    Rows that were kept for as many inputs are not measured again.
    """
    comparison, found = recorded(name), circumstances()
    file = RESULTS / f"{name}-inputs.json"
    earlier = json.loads(file.read_text("utf-8")) if file.exists() else {}
    rows = earlier["rows"] if earlier.get("inputs") == INPUTS[name] else []
    measured = {row["method"] for row in rows}
    by_name = {row["name"]: row for row in comparison["rows"]}
    setup, folder = setup_of(name, entries_of(name), inputs=INPUTS[name]), SCRATCH / "inputs" / name
    shutil.rmtree(folder, ignore_errors=True)
    bed = Bed.of(setup)
    experts, before = {}, {}
    for place, task in enumerate(setup.seen):
        bed.scorer.load(expert_weights(setup.plans[0], place, bed.scorer.encoder, bed.sites))
        experts[task] = bed.run(task)
    bed.scorer.load(())
    for task in setup.seen:
        before[task] = figures(bed, task, bed.run(task), experts[task])
    kept = {
        "board": name, **found, "tasks": len(setup.seen), "inputs": INPUTS[name],
        "test_inputs": comparison["inputs"]["test"],
        "experts": {task: comparison["experts"][task] for task in setup.seen}, "before": before, "rows": rows,
    }  # fmt: skip
    bench = Bench(setup, folder)
    missing = [own for own in zip(setup.entries, setup.plans, strict=True) if own[0].name not in measured]
    for entry, plan in sorted(missing, key=lambda own: own[1].seconds(1)):
        (deltas,) = bench.deltas([plan])
        for scale, scores in scales_of(by_name[entry.name]).items():
            bed.scorer.load(moved_weights(bed.scorer, bed.sites, list(deltas.values()), scale))
            for task in setup.seen:
                own = figures(bed, task, bed.run(task), experts[task])
                rows.append({"method": entry.name, "scale": scale, "task": task, "figures": own, "score": scores[task]})
            say(f"{name}: {entry.name} at {scale:g}")
        shutil.rmtree(folder)
        # Kept after every entry: what was measured before an interruption is of use.
        file.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def figures(bed: Bed, name: str, own: Run, expert: Run) -> dict[str, float | None]:
    """Every figure on inputs of a model on one task, and the controls; of those that are compared, what is missing."""
    task = bed.task(name)
    model = against_expert(task, bed.inputs(name), own.answers, expert.answers)
    reference = of_expert(task, expert.answers)
    return {**dict(_of_predictions(model, reference)), **dict(_of_collapse(model, reference)), **controls(own, expert)}


def _of_predictions(model: ModelOnInputs, expert: ModelOnInputs) -> Iterator[tuple[str, float | None]]:
    yield "disagreement", None if model.agreement is None else 1 - model.agreement.value
    yield "cka_missing", None if model.cka_unbiased is None else 1 - model.cka_unbiased
    last = [value for value in model.layers if value is not None]
    yield "cka_missing_least_layer", 1 - min(last) if last else None
    yield "entropy", model.entropy
    known = model.entropy is not None and expert.entropy is not None
    yield "entropy_more", model.entropy - expert.entropy if known else None  # type: ignore[operator]
    known = model.accuracy is not None and expert.accuracy is not None
    yield "labelled", expert.accuracy - model.accuracy if known else None  # type: ignore[operator]


def _of_collapse(model: ModelOnInputs, expert: ModelOnInputs) -> Iterator[tuple[str, float | None]]:
    """As they are, and over the expert's on the same inputs."""
    own, other = model.collapse, expert.collapse
    for name in COLLAPSE:
        value = None if own is None else getattr(own, name)
        reference = None if other is None else getattr(other, name)
        yield name, value
        yield f"{name}_more", None if value is None or reference is None else value - reference


def controls(own: Run, expert: Run) -> dict[str, float | None]:
    """What a figure has to beat: how far and how long the features are, and the disagreement of a random head."""
    one, other = own.features.double(), expert.features.double()
    return {
        "feature_distance": float((one - other).norm() / other.norm()),
        "feature_length": float(one.norm() / other.norm()),
        "random_disagreement": _random_disagreement(one, other),
    }


def _random_disagreement(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"], classes: int = 8) -> float:
    """Disagreement by heads of random rows on centred features, mean over several: no task's own head is needed."""
    generator = torch.Generator().manual_seed(one.shape[1])
    heads = torch.randn(16, one.shape[1], classes, dtype=torch.float64, generator=generator)
    apart = [((one - one.mean(0)) @ head).argmax(1) != ((other - other.mean(0)) @ head).argmax(1) for head in heads]
    return float(torch.stack(apart).double().mean())


def read_on_inputs() -> dict[str, Mapping[str, Any]]:
    """The boards whose figures on inputs were measured."""
    kept = {name: RESULTS / f"{name}-inputs.json" for name in INPUTS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in kept.items() if file.exists()}
