"""From a plan to a learner: reads task vectors, experts and data from their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.heads import Head
from mergeometry.encoders.pooling import pooling_notes
from mergeometry.encoders.sites import Site, expert_weights, sites_of
from mergeometry.execution.identity import fingerprint
from mergeometry.inputs import UnlabelledData
from mergeometry.inputs.unlabelled import naming
from mergeometry.learning.build_learner import Material, Prepared, Say, build_learner
from mergeometry.learning.check_heads import check_heads
from mergeometry.learning.learned import start_of
from mergeometry.learning.merged import MergedModel, load_learnables
from mergeometry.learning.processes import Processes
from mergeometry.plan.plan import Plan
from mergeometry.recipe import Recipe
from mergeometry.recipe.adapt import AdaptSection

_FREE = ("steps", "learning_rate", "rotation_learning_rate", "patience", "check_every")
"""Keys of the section that may change between an interrupted run and the run that resumes it."""


def prepare(
    plan: Plan,
    section: AdaptSection,
    encoder: Encoder,
    data: Sequence[UnlabelledData],
    heads: Sequence[Head | None],
    *,
    workers: int,
    say: Say,
    processes: Processes | None = None,
) -> Prepared:
    """Read all task vectors and experts, and build the learner; ``data`` and ``heads`` are in the order of the models.

    Raises:
        RecipeError: a method of the plan has no part for each task.
        DataError: data, heads and objective do not fit each other.
        NumericalError: an input is not finite.
    """
    labels = [model.label for model in plan.models]
    # First, since reading task vectors takes long.
    check_heads(section, encoder, heads, labels)
    sites = sites_of(plan, encoder)
    notes = [f"{label}: {note}" for label, inputs in zip(labels, data, strict=True) for note in inputs.notes]
    notes += pooling_notes(section.encoder, {task.name: task.head for task in section.tasks})
    notes += unused_note(plan, sites, encoder.doubles)
    prepared_inputs = []
    for label, task_data in zip(labels, data, strict=True):
        with naming(label):
            prepared_inputs.append(encoder.prepare(task_data))
    tensors = load_learnables(plan, encoder.doubles, lambda done, total: say("reading task vectors", done, total))
    merged = MergedModel(encoder, {name: tensor.to(encoder.device) for name, tensor in tensors.items()}, sites)
    material = Material(
        labels, merged, start_of(plan), prepared_inputs, heads,
        lambda task: expert_weights(plan, task, encoder, sites), plan.recipe.seed,
    )  # fmt: skip
    prepared = build_learner(material, section, workers=workers, say=say, processes=processes)
    return replace(prepared, notes=(*notes, *prepared.notes))


def unused_note(plan: Plan, sites: Sequence[Site], doubles: Collection[str] = ()) -> list[str]:
    """A note on the merged tensors that the forward pass does not use: nothing can be learned for them."""
    run = {site.name for site in sites} | set(doubles)
    idle = [task.name for task in plan.tasks if task.method is not None and task.name not in run]
    if not idle:
        return []
    shown = ", ".join(idle[:3]) + (", ..." if len(idle) > 3 else "")
    return [f"{len(idle)} merged tensors are not run by the encoder, so nothing is learned for them: {shown}"]


def identity_of(plan: Plan, section: AdaptSection, data: Sequence[UnlabelledData], heads: Sequence[Head | None]) -> str:
    """Digest of everything that a run of learning depends on; rates and lengths may change when it is resumed."""
    defaults = {name: AdaptSection.model_fields[name].default for name in _FREE}
    recipe = plan.recipe.model_copy(
        update={"adapt": section.model_copy(update=defaults), "output": Recipe.model_fields["output"].default}
    )
    contents = [[task_data.digest for task_data in data], [None if head is None else _digest(head) for head in heads]]
    return fingerprint(replace(plan, recipe=recipe), json.dumps(contents))


def _digest(head: Head) -> str:
    return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in (head.weight, head.bias))).hexdigest()
