"""Estimates what learning takes from headers and the recipe alone: memory and rough seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mergeometry.encoders.kind import kind_of
from mergeometry.errors import RecipeError
from mergeometry.plan.cost import sizes_of
from mergeometry.plan.machine import (
    BFLOAT16_SPEEDUP,
    FLOAT32_FLOPS_PER_SECOND,
    PROCESS_BYTES,
    TRANSFORMERS_BYTES,
    available_memory,
    cores,
)
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe.adapt import AdaptSection

MADE_TOKENS = 20
"""About how long a sentence is that is made."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Peak bytes of memory, elements of all tasks' parts, rough seconds on two cores, and inputs per task."""

    memory: int
    parts: int
    seconds: float
    inputs: int


def estimate(plan: Plan, section: AdaptSection, precision: torch.dtype = torch.float32) -> Estimate:
    """Estimate a run of learning.

    Memory counts the base in float32, the merged weights, one more copy of the largest tensor for its gradient, every
    task's parts, one expert while it runs, and the activations of one pass per thread.
    """
    elements = sum(info.elements for info in plan.base.tensors.values())
    largest = max(info.elements for info in plan.base.tensors.values())
    parts = sum(_part_elements(task) for task in plan.tasks if task.method is not None)
    number_bytes = 2 if precision == torch.bfloat16 else 4
    width = _width(plan)
    layers = int((plan.base.config or {}).get("num_hidden_layers") or 12)
    tokens = 1024 if kind_of(section.encoder, plan.base.config) == "text" else 4096
    kept_per_layer = 2 if section.activation_checkpointing else 34
    activations = 2 * number_bytes * tokens * width * (kept_per_layer * layers)
    vocabulary = int((plan.base.config or {}).get("vocab_size") or 0)
    if kind_of(section.encoder, plan.base.config) in ("causal", "seq2seq"):
        activations += 2 * 4 * 4 * 512 * vocabulary
    experts = 4 * elements if section.weights.needs_experts else 0
    memory = 4 * elements + max(number_bytes * elements + 8 * largest + activations, experts) + 4 * parts
    embedding = sum(info.elements for name, info in plan.base.tensors.items() if "embed" in name)
    length = min(section.encoder.max_length, 64)
    operations_per_step = 6 * (elements - embedding) * section.batch_size * len(section.tasks) * length
    rate = FLOAT32_FLOPS_PER_SECOND * (BFLOAT16_SPEEDUP if precision == torch.bfloat16 else 1)
    seconds = section.steps * operations_per_step / rate / min(2, cores())
    seconds += _making(section, kind_of(section.encoder, plan.base.config), elements - embedding)
    return Estimate(PROCESS_BYTES + TRANSFORMERS_BYTES + memory, parts, seconds, section.batch_size * section.steps)


def check_memory(plan: Plan, section: AdaptSection, device: torch.device, limit: int | None = None) -> None:
    """Check that learning fits into memory, of which the user may allow less by ``limit``, before anything is read.

    Raises:
        RecipeError: the estimate exceeds the memory of the machine or of the GPU.
    """
    expected = estimate(plan, section).memory
    available = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else available_memory(limit)
    if available and expected > available:
        raise RecipeError(
            f"learning would take about {expected / 1e9:.1f} GB of memory, and there are {available / 1e9:.1f} GB",
            hint="merge without `adapt:`, learn on adapters, whose task vectors are small, or use a larger machine",
        )


def _making(section: AdaptSection, kind: str, elements: int) -> float:
    """Seconds in which inputs are made: one pass over each, on one core."""
    length = min(section.encoder.max_length, MADE_TOKENS if kind == "text" else 64)
    inputs = sum(task.data.synthetic or 0 for task in section.tasks)
    return 2 * elements * length * inputs / FLOAT32_FLOPS_PER_SECOND


def _part_elements(task: TensorTask) -> int:
    assert task.method is not None
    ranks = task.method.part_ranks(sizes_of(task))
    if ranks is None:
        return math.prod(task.shape) * len(task.sources)
    return (sum(task.shape) + 1) * sum(min(rank, *task.shape) for rank in ranks)


def _width(plan: Plan) -> int:
    config = plan.base.config or {}
    return int(config.get("hidden_size") or config.get("d_model") or config.get("n_embd") or 1024)
