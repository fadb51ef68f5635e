"""What a comparison would read, keep on disk and cost, without reading a weight: ``mergeometry compare --plan``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergeometry.activations.estimate import Estimate, estimate
from mergeometry.comparison.harness_tasks import HarnessData
from mergeometry.comparison.merging import merge_jobs
from mergeometry.comparison.read_inputs import TEST, VALIDATION
from mergeometry.comparison.scored_kind import scored_kind
from mergeometry.comparison.setup import Setup
from mergeometry.plan.machine import FLOAT32_FLOPS_PER_SECOND, PROCESS_BYTES, TRANSFORMERS_BYTES

_TOKENS = {"text": 1024, "causal": 512, "image": 2048}
"""Tokens of one forward pass, which its activations grow with."""
_HARNESS_TOKENS = 2048
"""The same of an lm_eval task: a batch of prompts of 256 tokens."""


def dry_run(setup: Setup, scales: Sequence[float], workers: int) -> dict[str, Any]:
    """Estimate steps, scratch space, memory and rough seconds of a comparison without earlier results."""
    jobs, sizes = merge_jobs(setup.plans, Path("scratch"))
    running = _running(setup)
    return {
        "entries": [entry.name for entry in setup.entries],
        "scales": list(scales),
        "seen": list(setup.seen),
        "unseen": list(setup.unseen),
        "inputs": {
            split: {name: len(task.data.items) for name, task in tasks.items()} for split, tasks in setup.splits.items()
        },
        "notes": list(setup.notes),
        "merges": len(jobs),
        "scratch_bytes": sum(sizes.values()) + running.scratch,
        "memory_bytes": peak_memory(setup, workers),
        "workers": workers,
        "seconds": core_seconds(setup, scales) / workers + running.seconds,
    }


def peak_memory(setup: Setup, workers: int) -> int:
    """Upper bound of the bytes that all processes of a comparison hold."""
    jobs, _ = merge_jobs(setup.plans, Path("scratch"))
    base = setup.plans[0].base
    elements = sum(info.elements for info in base.tensors.values())
    config = base.config or {}
    kind = scored_kind(setup.tasks.encoder, base)
    wide, layers = int(config.get("hidden_size") or 1024), int(config.get("num_hidden_layers") or 12)
    vocabulary = int(config.get("vocab_size") or 0) if kind == "causal" else 0
    tokens = _HARNESS_TOKENS if _by_harness(setup) else _TOKENS[kind]
    activations = 4 * tokens * (12 * wide + 2 * vocabulary) + 4 * tokens * layers
    # The base, the weights that are scored, and the copies of one tensor in between.
    largest = max(info.elements for info in base.tensors.values())
    scoring = 4 * (2 * elements + 3 * largest) + activations
    merging = max((_merging_bytes([variant.task for variant in job.variants]) for job in jobs), default=0)
    return max(workers * (PROCESS_BYTES + TRANSFORMERS_BYTES + max(scoring, merging)), _running(setup).memory)


def core_seconds(setup: Setup, scales: Sequence[float]) -> float:
    """Rough seconds of one core for all merges and scores, without what runs the experts on unlabelled inputs."""
    base = setup.plans[0].base
    elements = sum(info.elements for info in base.tensors.values())
    length = _length(scored_kind(setup.tasks.encoder, base), setup)
    seconds = sum(plan.seconds(1) for plan in setup.plans)
    for split, points in ((VALIDATION, len(scales)), (TEST, 2)):
        inputs = sum(len(one.data.items) for one in setup.splits.get(split, {}).values())
        forward = 2 * elements * inputs * length
        seconds += (points * len(setup.entries) + 2) * forward / FLOAT32_FLOPS_PER_SECOND
    return seconds


def _by_harness(setup: Setup) -> bool:
    """Whether inputs are documents of lm_eval tasks."""
    return any(isinstance(one.data, HarnessData) for tasks in setup.splits.values() for one in tasks.values())


def _running(setup: Setup) -> Estimate:
    """The cost of running the experts on unlabelled inputs, once for all entries that need it."""
    estimates = [
        estimate(plan, plan.recipe.data, setup.unlabelled) for plan in setup.plans if plan.recipe.data is not None
    ]
    return max(estimates, key=lambda one: one.scratch, default=Estimate(0, 0, 0.0))


def _merging_bytes(tasks: Sequence[Any]) -> int:
    """Memory of one tensor's merges: the largest of the methods' needs, plus what all keep of it until the end."""
    elements = max(task.base.elements for task in tasks)
    models = len(tasks[0].sources)
    return max(task.cost.memory for task in tasks) + 4 * elements * (models + len(tasks))


def _length(kind: str, setup: Setup) -> int:
    """Tokens of a typical input: few texts reach the maximum length."""
    return 256 if kind == "image" else min(setup.tasks.encoder.max_length, 40)
