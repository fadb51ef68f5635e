"""The settings of an adapter that a merge writes, so that PEFT loads it as it loads the inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mergeometry.conventions.vllm import max_lora_rank, refusals
from mergeometry.plan.plan import Plan
from mergeometry.sink import SidecarRecord, Staging, adapter_config
from mergeometry.sources import Adapter


def write_adapter_config(plan: Plan, staging: Staging) -> SidecarRecord:
    """Write adapter_config.json into the staging folder; a file of diffusers or kohya has no settings.

    Raises:
        OutputError: the file cannot be written, or PEFT would read a module's name as a pattern.
    """
    form = plan.form
    assert form is not None
    if form.layout != "peft":
        return SidecarRecord(notes=(f"a LoRA file in the format of {form.layout}: load it on its base",))
    modules, transposed = [], False
    for task in plan.tasks:
        if task.route == "factors":
            modules.append(form.factors(task.name, task.shape, task.outputs[0].shape[0]))
            transposed |= task.transposed
    inputs = [model for model in plan.models if isinstance(model, Adapter)]
    declared = {model.base_name for model in inputs if model.base_name}
    base = plan.recipe.base
    assert isinstance(base, str)  # a plan of an adapter for a stack is refused
    config = adapter_config(
        modules,
        base_model=declared.pop() if len(declared) == 1 else base,
        fan_in_fan_out=transposed,
        saved=form.modules,
        biases=form.biases,
        tokens=form.tokens,
        task_type=form.task_type,
        auto_mapping=_auto_mapping(inputs),
    )
    named = {model.task_type for model in inputs if model.task_type}
    notes = [
        f"task_type {name} of an input is not kept: no head of that task is in the adapter, or the inputs differ"
        for name in sorted(named)
        if name != form.task_type
    ]
    staging.write_file("adapter_config.json", (json.dumps(config, indent=2) + "\n").encode())
    loading = "an adapter: load it on its base, whose files are not copied"
    return SidecarRecord(notes=(loading, *notes, *_vllm_note(plan, config)))


def _vllm_note(plan: Plan, config: Mapping[str, Any]) -> list[str]:
    """Whether vLLM takes the adapter, of a model that it may serve."""
    architectures = (plan.base.config or {}).get("architectures")
    named = [str(one) for one in architectures] if isinstance(architectures, list) else []
    if not any(name.endswith("ForCausalLM") for name in named):
        return []
    reasons = refusals(config, (output.name for task in plan.tasks for output in task.outputs))
    if not reasons:
        return [f"vLLM takes it with --enable-lora --max-lora-rank {max_lora_rank(config['r'])}"]
    return [f"vLLM does not take it: {', '.join(reasons)}; `other: none` and a rank leave factors alone"]


def _auto_mapping(inputs: list[Adapter]) -> Mapping[str, str] | None:
    """The class that all inputs were trained on, if it is one of transformers: loading imports what it names."""
    mappings: list[Any] = [model.config.get("auto_mapping") for model in inputs]
    if not mappings or not isinstance(mappings[0], dict) or any(other != mappings[0] for other in mappings):
        return None
    library, name = mappings[0].get("parent_library"), mappings[0].get("base_model_class")
    if not isinstance(library, str) or not isinstance(name, str) or not library.startswith("transformers."):
        return None
    return {"base_model_class": name, "parent_library": library}
