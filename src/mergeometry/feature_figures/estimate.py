"""Estimates what running the models takes, from headers and the number of inputs: memory and rough seconds."""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.feature_figures.answers import COMPARED, COMPARED_LAYERS
from mergeometry.feature_figures.load import Loaded
from mergeometry.plan.machine import (
    BYTES_PER_SECOND,
    FLOAT32_FLOPS_PER_SECOND,
    PROCESS_BYTES,
    TRANSFORMERS_BYTES,
)
from mergeometry.plan.memory_check import refuse_beyond_memory
from mergeometry.plan.plan import Plan

_TOKENS_OF_AN_IMAGE, _TOKENS_OF_A_TEXT, _TOKENS_OF_A_PASS = 256, 64, 2048


@dataclass(frozen=True, slots=True)
class Estimate:
    """Peak bytes of memory, and seconds on one core."""

    memory: int
    seconds: float


def estimate(plan: Plan, loaded: Loaded, *, merged: bool) -> Estimate:
    """Estimate a run: the base and one other model in float32, and what is kept of every expert's answers."""
    config = plan.base.config or {}
    elements = sum(info.elements for info in plan.base.tensors.values())
    largest = max(info.elements for info in plan.base.tensors.values())
    embedding = sum(info.elements for name, info in plan.base.tensors.items() if "embed" in name)
    width = int(config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 1024)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers") or 12)
    generates = loaded.kind in ("causal", "seq2seq")
    vocabulary = int(config.get("vocab_size") or 0) if generates else 0
    length = _TOKENS_OF_AN_IMAGE if loaded.kind == "image" else min(loaded.encoder.max_length, _TOKENS_OF_A_TEXT)
    inputs = sum(len(task.data.items) for task in loaded.tasks)
    rows = max(len(task.data.items) * (length if generates else 1) for task in loaded.tasks)
    compared, fewer = min(rows, COMPARED), min(rows, COMPARED_LAYERS)
    kept = len(loaded.tasks) * 8 * (compared**2 + layers * fewer**2)
    running = 4 * (_TOKENS_OF_A_PASS * (12 * width + 2 * vocabulary + layers * width) + layers * fewer * width)
    comparing = 8 * (4 * compared * width + 4 * compared**2)
    memory = PROCESS_BYTES + TRANSFORMERS_BYTES + 4 * (2 * elements + 2 * largest) + kept + running + comparing
    # The experts run on their own inputs, base and merged model on those of all.
    flops = 2 * (elements - embedding + vocabulary * width) * length * inputs * (2 + merged)
    reading = 4 * elements * (len(loaded.tasks) + 1 + merged) / BYTES_PER_SECOND
    return Estimate(int(memory), flops / FLOAT32_FLOPS_PER_SECOND + reading)


def check_memory(expected: Estimate, limit: int | None = None) -> None:
    """Check that the models can run in memory, of which the user may allow less by ``limit``.

    Raises:
        RecipeError: the estimate exceeds the memory that there is.
    """
    hint = "leave --data out, or use a machine with more memory"
    refuse_beyond_memory("running the models", expected.memory, limit, hint=hint)
