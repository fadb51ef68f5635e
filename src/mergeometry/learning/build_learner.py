"""Puts a learner together from models, inputs and heads, wherever they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.base import Encoder, Inputs
from mergeometry.encoders.batches import Chosen, generator, split
from mergeometry.encoders.heads import Head
from mergeometry.encoders.language import OUTPUT, LanguageModel
from mergeometry.encoders.seq2seq import Seq2SeqEncoder
from mergeometry.errors import DataError
from mergeometry.learning.coefficients import CoefficientTable, rates_of
from mergeometry.learning.experts import ExpertFeatures, expert_features, with_targets
from mergeometry.learning.forward_backward import Passes, Scene, output_head
from mergeometry.learning.merged import MergedModel
from mergeometry.learning.objective import Objective, TaskTerms, feature_rotation, task_rotation
from mergeometry.learning.precision import dtype_of
from mergeometry.learning.processes import Alone, Processes
from mergeometry.learning.prototypes import Prototypes, head_prototypes, random_prototypes
from mergeometry.learning.rotation import TaskRotation
from mergeometry.learning.train import Learner
from mergeometry.recipe.adapt import LearningSettings

HELD_OUT_MOST = 200
"""Inputs of a task that are held out at most: a check takes their forward passes."""

LOOKED_AT = 256
"""Inputs of a task that spans and class means are first estimated on."""

Say = Callable[[str, int, int], None]
"""Told what is being prepared, and how much of it is done."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is learned on; every sequence is in the order of the tasks."""

    labels: Sequence[str]
    merged: MergedModel
    start: Mapping[str, float]
    """What each tensor's coefficients start from."""
    inputs: Sequence[Inputs]
    heads: Sequence[Head | None]
    expert: Callable[[int], Iterable[tuple[str, Tensor]]]
    """A task's expert: its weights by parameter, those that differ from the base's."""
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A learner that is ready to start, with what its result will be made of."""

    learner: Learner
    scene: Scene
    table: CoefficientTable
    heads: tuple[Head | None, ...]
    notes: tuple[str, ...]


def build_learner(
    material: Material, section: LearningSettings, *, workers: int, say: Say, processes: Processes | None = None
) -> Prepared:
    """Run the experts where the objective needs them, find spans and prototypes, and put the learner together.

    Raises:
        DataError: inputs, heads and objective do not fit each other.
        NumericalError: an input is not finite.
    """
    merged, encoder, heads = material.merged, material.merged.encoder, material.heads
    check_heads(section, encoder, heads, material.labels)
    dtype, notes = dtype_of(section.precision, encoder.device), []
    table = CoefficientTable(section.coefficients, merged.tensors, material.start)
    table.parameters = {key: value.to(encoder.device) for key, value in table.parameters.items()}
    processes = processes or Alone(encoder.device)
    inputs, experts, teachers = _experts(material, section, dtype, say, processes)
    prototypes = _prototypes(section, encoder, heads, material.seed)
    notes += [
        f"{label}: {own.note}" for label, own in zip(material.labels, prototypes, strict=True) if own and own.note
    ]
    terms = [
        TaskTerms(
            head,
            own.vectors.float().to(encoder.device) if own else None,
            teacher,
            experts[task].energy if task in experts else None,
        )
        for task, (head, own, teacher) in enumerate(zip(heads, prototypes, teachers, strict=True))
    ]
    splits = [split(len(own), section.held_out, HELD_OUT_MOST, material.seed, t) for t, own in enumerate(inputs)]
    looked = [learned[:LOOKED_AT] for learned, _ in splits]
    still: tuple[TaskRotation | None, ...] = (None,) * len(material.labels)
    scene = Scene(
        merged, inputs, experts, terms, still, Objective(section.weights, section.temperature), dtype,
        section.activation_checkpointing, processes,
    )  # fmt: skip
    features = [] if section.resolved_rotation == "none" else _features(scene, table, looked, say)
    rotations, said = _rotations(section, scene, features, material.labels)
    notes += said
    scene = replace(scene, rotations=rotations)
    learner = Learner(
        scene, table, section, [rows for rows, _ in splits], [held for _, held in splits],
        rates_of(section), material.seed, material.labels, workers,
    )  # fmt: skip
    learner.start(features)
    if learner.means is not None:
        notes += _predicted(learner, material.labels, heads)
    return Prepared(learner, scene, table, tuple(heads), tuple(notes))


def check_heads(
    section: LearningSettings, encoder: Encoder, heads: Sequence[Head | None], labels: Sequence[str]
) -> None:
    """Refuse an objective that needs classes where there are none.

    Raises:
        DataError: with every task that lacks a head.
    """
    weights = section.weights
    if encoder.language_model:
        if weights.alpha or weights.beta:
            raise DataError(
                "a language model has no classes to align features with",
                hint="write adapt: {alpha: 0, beta: 0}, or objective: distill",
            )
        return
    lacking = [label for label, head in zip(labels, heads, strict=True) if head is None]
    if lacking and section.needs_heads:
        raise DataError(
            f"no head is given for {', '.join(lacking)}",
            hint="write `head:` for the task, a safetensors file; only objective: distill does without",
        )
    if lacking and weights.distill and not weights.hidden:
        raise DataError(
            f"no head is given for {', '.join(lacking)}, so there are no predictions to distill",
            hint="give `head:`, or match features alone: {distill: 0, hidden: 1}",
        )


def _experts(
    material: Material,
    section: LearningSettings,
    dtype: torch.dtype,
    say: Say,
    processes: Processes,
) -> tuple[list[Inputs], Mapping[int, ExpertFeatures], list[Head | None]]:
    """What is needed of each expert: the continuations it would write, its features, the head they go through."""
    encoder = material.merged.encoder
    wanted = section.weights.distill or section.weights.hidden
    writes = isinstance(encoder, Seq2SeqEncoder)
    found, teachers, own_inputs = {}, list(material.heads), list(material.inputs)
    if not (wanted or writes):
        return own_inputs, found, teachers
    for task, label in enumerate(material.labels):
        name = f"running the expert {label}"
        say(name, 0, len(own_inputs[task]))
        weights = {key: value.to(encoder.device) for key, value in material.expert(task)}
        if isinstance(encoder, Seq2SeqEncoder):
            own_inputs[task] = with_targets(encoder, weights, own_inputs[task], processes)
        if not wanted:
            continue
        total = len(own_inputs[task])
        found[task] = expert_features(
            encoder, weights, own_inputs[task], dtype, lambda done, n=name, t=total: say(n, done, t), processes
        )
        if isinstance(encoder, LanguageModel):
            kept = encoder.head_weight(weights)
            teachers[task] = output_head(kept if kept is encoder.output or OUTPUT in weights else kept.clone())
    return own_inputs, found, teachers


def _prototypes(
    section: LearningSettings, encoder: Encoder, heads: Sequence[Head | None], seed: int
) -> list[Prototypes | None]:
    weights = section.weights
    needed = weights.alpha or weights.beta or section.resolved_rotation == "subspace"
    needed = needed and not encoder.language_model
    if not needed:
        return [None] * len(heads)
    made: list[Prototypes | None] = []
    for task, head in enumerate(heads):
        assert head is not None
        if section.prototypes == "head":
            made.append(head_prototypes(head.weight))
        else:
            made.append(
                random_prototypes(head.weight.shape[0], head.weight.shape[1], generator("prototypes", seed, task))
            )
    return made


def _features(
    scene: Scene, table: CoefficientTable, looked: Sequence[Sequence[int]], say: Say
) -> list[Float[Tensor, "n d"]]:
    """Each task's features under the starting coefficients, which spans and class means are first estimated from."""
    passes, features = Passes(scene, 1), []
    for task, rows in enumerate(looked):
        say("looking at features", task, len(looked))
        features.append(torch.cat(passes.features([Chosen(task, row) for row in rows], table)).float())
    passes.close()
    return features


def _rotations(
    section: LearningSettings, scene: Scene, features: list[Float[Tensor, "n d"]], labels: Sequence[str]
) -> tuple[tuple[TaskRotation | None, ...], list[str]]:
    kind, tasks = section.resolved_rotation, len(labels)
    if kind == "none":
        return (None,) * tasks, []
    if scene.merged.encoder.language_model:
        # Shared by all tasks, so that it folds into the one output layer.
        rotation = feature_rotation(kind, torch.cat(features)).to(scene.merged.encoder.device)
        return (rotation,) * tasks, []
    made, said = [], []
    for label, own, terms in zip(labels, features, scene.terms, strict=True):
        rotation, note = task_rotation(kind, own, terms)
        made.append(rotation.to(scene.merged.encoder.device))
        said += [f"{label}: {note}"] if note else []
    return tuple(made), said


def _predicted(learner: Learner, labels: Sequence[str], heads: Sequence[Head | None]) -> list[str]:
    said = []
    assert learner.means is not None
    for task, (label, head) in enumerate(zip(labels, heads, strict=True)):
        never = learner.means.never_predicted(task)
        if never and head is not None:
            said.append(
                f"{label}: {never} of {len(head.bias)} classes are predicted for none of the inputs looked at; "
                "their prototypes pull nothing (other labels than in training, or too little data)"
            )
    return said
