"""The inputs that a recipe asks to be made: before learning, from each task's expert, and as a file of the output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mergeometry.encoders import Encoder
from mergeometry.encoders.heads import Head
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.inputs import UnlabelledData
from mergeometry.inputs.unlabelled import naming
from mergeometry.learning.build_learner import Say
from mergeometry.learning.precision import dtype_of
from mergeometry.plan.plan import Plan
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.synthetic import made_inputs

INPUTS = "adapt/inputs.jsonl"


def make_missing(
    plan: Plan, section: AdaptSection, encoder: Encoder, heads: Mapping[str, Head | None], say: Say
) -> dict[str, UnlabelledData]:
    """The inputs of every task whose data are `synthetic`, by the model's name.

    Raises:
        DataError: no inputs can be made for the task's model; the error names it.
    """
    tasks = {task.name: task for task in section.tasks if task.made}
    dtype = dtype_of(section.precision, encoder.device)
    sites, made = sites_of(plan, encoder) if tasks else [], {}
    for index, label in enumerate(model.label for model in plan.models):
        if label not in tasks:
            continue
        count, text = tasks[label].data.synthetic, f"making inputs for {label}"
        assert count is not None
        weights = {key: value.to(encoder.device) for key, value in expert_weights(plan, index, encoder, sites)}
        with naming(label):
            made[label] = made_inputs(
                encoder, weights, heads[label], label, count, plan.recipe.seed, dtype,
                lambda done, text=text, count=count: say(text, done, count),
            )  # fmt: skip
    return made


def inputs_file(labels: Sequence[str], data: Sequence[UnlabelledData]) -> dict[str, bytes]:
    """The texts that were made, as a file's contents by its name; nothing where all were read, and of images."""
    lines = [
        json.dumps({"task": label, "text": text}, ensure_ascii=False) + "\n"
        for label, inputs in zip(labels, data, strict=True)
        if inputs.made is not None and inputs.kind == "texts"
        for text in inputs.items
    ]
    return {INPUTS: "".join(lines).encode()} if lines else {}
