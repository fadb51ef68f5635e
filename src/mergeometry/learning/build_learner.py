"""Builds a learner from models, inputs and heads, wherever they come from."""

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
from mergeometry.learning.check_heads import check_heads
from mergeometry.learning.coefficients import CoefficientTable, rates_of
from mergeometry.learning.experts import ExpertFeatures, expert_features, with_targets
from mergeometry.learning.forward_backward import Passes, output_head
from mergeometry.learning.losses import logits_spread
from mergeometry.learning.merged import MergedModel
from mergeometry.learning.objective import Objective, TaskTerms, feature_rotation, task_rotation
from mergeometry.learning.precision import dtype_of
from mergeometry.learning.processes import Alone, Processes
from mergeometry.learning.prototypes import Prototypes, head_prototypes, random_prototypes
from mergeometry.learning.rotation import TaskRotation
from mergeometry.learning.scene import Scene
from mergeometry.learning.stages import held_out_share, matches_strength, stages_of
from mergeometry.learning.strength import at_strength, strengths
from mergeometry.learning.train import Learner
from mergeometry.recipe.adapt import LearningSettings

HELD_OUT_MOST = 200
"""The most inputs of a task that are held out: every check runs a forward pass on them."""

LOOKED_AT = 256
"""Inputs of a task on which spans and class means are first estimated."""

Say = Callable[[str, int, int], None]
"""Called with what is being prepared, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What learning starts from; every sequence is in the order of the tasks."""

    labels: Sequence[str]
    merged: MergedModel
    start: Mapping[str, float]
    """The value that each tensor's coefficients start from."""
    inputs: Sequence[Inputs]
    heads: Sequence[Head | None]
    expert: Callable[[int], Iterable[tuple[str, Tensor]]]
    """Returns the weights of a task's expert that differ from the base's, by parameter."""
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A learner that is ready to start, with the parts that its result is built from."""

    learner: Learner
    scene: Scene
    table: CoefficientTable
    heads: tuple[Head | None, ...]
    notes: tuple[str, ...]
    strengths: Mapping[str, float]
    """The share of its logits' size at which an expert is compared, by task; empty where that is the whole."""


def build_learner(
    material: Material, section: LearningSettings, *, workers: int, say: Say, processes: Processes | None = None
) -> Prepared:
    """Run the experts where the objective needs them, find spans and prototypes, and build the learner.

    Raises:
        DataError: inputs, heads and objective do not fit each other.
        NumericalError: an input is not finite.
    """
    merged, encoder, heads = material.merged, material.merged.encoder, material.heads
    check_heads(section, encoder, heads, material.labels)
    dtype, notes = dtype_of(section.precision, encoder.device), []
    table = CoefficientTable(stages_of(section)[0].granularity, merged.tensors, material.start)
    table.parameters = {key: value.to(encoder.device) for key, value in table.parameters.items()}
    processes = processes or Alone(encoder.device)
    inputs, experts, teachers = _experts(material, section, dtype, say, processes)
    prototypes = _prototypes(section, encoder, heads, material.seed)
    notes += [
        f"{label}: {targets.note}"
        for label, targets in zip(material.labels, prototypes, strict=True)
        if targets and targets.note
    ]
    terms = [
        TaskTerms(
            head,
            targets.vectors.float().to(encoder.device) if targets else None,
            teacher,
            experts[task].energy if task in experts else None,
            _spread(experts[task], teacher) if section.weights.logits and task in experts else None,
        )
        for task, (head, targets, teacher) in enumerate(zip(heads, prototypes, teachers, strict=True))
    ]
    splits = [
        split(len(rows), held_out_share(section, len(rows)), HELD_OUT_MOST, material.seed, task)
        for task, rows in enumerate(inputs)
    ]
    probe_rows = [learned[:LOOKED_AT] for learned, _ in splits]
    no_rotations: tuple[TaskRotation | None, ...] = (None,) * len(material.labels)
    scene = Scene(
        merged, inputs, experts, terms, no_rotations,
        Objective(section.weights, section.temperature, section.coefficients_from), dtype,
        section.activation_checkpointing, processes,
    )  # fmt: skip
    shares: dict[str, float] = {}
    if matches_strength(section, [len(rows) for rows in inputs], heads):
        found = strengths(scene, table, [learned for learned, _ in splits])
        scene, shares = at_strength(scene, found), {material.labels[task]: share for task, share in found.items()}
    features = [] if section.resolved_rotation == "none" else _features(scene, table, probe_rows, say)
    rotations, rotation_notes = _rotations(section, scene, features, material.labels)
    notes += rotation_notes
    scene = replace(scene, rotations=rotations)
    learner = Learner(
        scene, table, section, [rows for rows, _ in splits], [held for _, held in splits],
        rates_of(section), material.seed, material.labels, workers,
    )  # fmt: skip
    learner.start(features)
    if learner.means is not None:
        notes += _never_predicted(learner, material.labels, heads)
    return Prepared(learner, scene, table, tuple(heads), tuple(notes), shares)


def _experts(
    material: Material,
    section: LearningSettings,
    dtype: torch.dtype,
    say: Say,
    processes: Processes,
) -> tuple[list[Inputs], Mapping[int, ExpertFeatures], list[Head | None]]:
    """What is needed from each expert: the targets it generates, its features, and the head that takes them."""
    encoder = material.merged.encoder
    wanted = section.weights.needs_experts
    writes = isinstance(encoder, Seq2SeqEncoder)
    experts, teachers, inputs = {}, list(material.heads), list(material.inputs)
    if not (wanted or writes):
        return inputs, experts, teachers
    for task, label in enumerate(material.labels):
        name = f"running the expert {label}"
        say(name, 0, len(inputs[task]))
        weights = {key: value.to(encoder.device) for key, value in material.expert(task)}
        if isinstance(encoder, Seq2SeqEncoder):
            inputs[task] = with_targets(encoder, weights, inputs[task], processes)
        if not wanted:
            continue
        total = len(inputs[task])
        experts[task] = expert_features(
            encoder, weights, inputs[task], dtype, lambda done, n=name, t=total: say(n, done, t), processes
        )
        if isinstance(encoder, LanguageModel):
            head = encoder.head_weight(weights)
            teachers[task] = output_head(head if head is encoder.output or OUTPUT in weights else head.clone())
    return inputs, experts, teachers


def _spread(expert: ExpertFeatures, teacher: Head | None) -> float | None:
    return None if teacher is None else float(logits_spread(teacher.logits(expert.rows.to(teacher.weight.device))))


def _prototypes(
    section: LearningSettings, encoder: Encoder, heads: Sequence[Head | None], seed: int
) -> list[Prototypes | None]:
    weights = section.weights
    needed = weights.alpha or weights.beta or section.resolved_rotation == "subspace"
    needed = needed and not encoder.language_model
    if not needed:
        return [None] * len(heads)
    prototypes: list[Prototypes | None] = []
    for task, head in enumerate(heads):
        assert head is not None
        if section.prototypes == "head":
            prototypes.append(head_prototypes(head.weight))
        else:
            prototypes.append(
                random_prototypes(head.weight.shape[0], head.weight.shape[1], generator("prototypes", seed, task))
            )
    return prototypes


def _features(
    scene: Scene, table: CoefficientTable, probe_rows: Sequence[Sequence[int]], say: Say
) -> list[Float[Tensor, "n d"]]:
    """Each task's features under the starting coefficients, from which spans and class means are first estimated."""
    passes, features = Passes(scene, 1), []
    for task, rows in enumerate(probe_rows):
        say("computing the first features", task, len(probe_rows))
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
        # One for all tasks, so that it folds into the one output layer.
        rotation = feature_rotation(kind, torch.cat(features)).to(scene.merged.encoder.device)
        return (rotation,) * tasks, []
    rotations, notes = [], []
    for label, task_features, terms in zip(labels, features, scene.terms, strict=True):
        rotation, note = task_rotation(kind, task_features, terms)
        rotations.append(rotation.to(scene.merged.encoder.device))
        notes += [f"{label}: {note}"] if note else []
    return tuple(rotations), notes


def _never_predicted(learner: Learner, labels: Sequence[str], heads: Sequence[Head | None]) -> list[str]:
    notes = []
    assert learner.means is not None
    for task, (label, head) in enumerate(zip(labels, heads, strict=True)):
        never = learner.means.never_predicted(task)
        if never and head is not None:
            notes.append(
                f"{label}: {never} of {len(head.bias)} classes are predicted for none of the first inputs, so their "
                "prototypes have no effect (the labels differ from training, or there is too little data)"
            )
    return notes
