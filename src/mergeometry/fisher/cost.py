"""Estimates what estimating Fisher information takes, from headers and counts alone."""

from __future__ import annotations

from collections.abc import Mapping

from mergeometry.encoders.heads import find_head
from mergeometry.encoders.kind import kind_of
from mergeometry.errors import MergeometryError
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.fishers import merged_by_fisher
from mergeometry.plan.machine import FLOAT32_FLOPS_PER_SECOND, PROCESS_BYTES, TRANSFORMERS_BYTES
from mergeometry.plan.plan import Plan
from mergeometry.recipe.data import DataSection

_FILE_BYTES = 4096
"""Bytes that the header and the last block of a file add to each tensor's information."""
_CLASSES = 10
"""Classes of a head that is not found by headers alone."""
_PASSES_PER_ELEMENT = 12
"""Operations that one addition to a square takes the time of: it waits for memory."""


def cost_of_fishers(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> tuple[int, int, float]:
    """Bytes on disk until the merge is done, peak bytes of memory, and seconds on one core."""
    merged = merged_by_fisher(plan.tasks)
    if not data or not merged:
        return 0, 0, 0.0
    wanted = sum(task.base.elements for task in merged)
    elements = sum(info.elements for info in plan.base.tensors.values())
    embedding = sum(info.elements for name, info in plan.base.tensors.items() if "embed" in name)
    largest = max(info.elements for info in plan.base.tensors.values())
    kind, config = kind_of(section.encoder, plan.base.config), plan.base.config or {}
    length = 256 if kind == "image" else min(section.encoder.max_length, 64)
    width = int(config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 1024)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 24)
    vocabulary = int(config.get("vocab_size") or 0) if kind in ("causal", "seq2seq") else 0
    activations = 4 * length * (20 * width * layers + 3 * vocabulary)
    memory = PROCESS_BYTES + TRANSFORMERS_BYTES + 4 * (2 * elements + wanted + 2 * largest) + activations
    seconds = 0.0
    for label, inputs in data.items():
        backward = _labels(section, label, language_model=bool(vocabulary)) * len(inputs.items)
        products = 2 * (elements - embedding) * length * (len(inputs.items) + 2 * backward)
        seconds += (products + _PASSES_PER_ELEMENT * wanted * backward) / FLOAT32_FLOPS_PER_SECOND
    return len(data) * (4 * wanted + _FILE_BYTES * len(merged)), memory, seconds


def _labels(section: DataSection, label: str, *, language_model: bool) -> int:
    """How many backward passes one input of a model takes."""
    if isinstance(section.labels, int):
        return section.labels
    if language_model:
        return 1
    head = section.tasks[label].head
    try:
        return _CLASSES if head is None else find_head(head, label, None).weight.shape[0]
    except MergeometryError:
        return _CLASSES  # whoever reads the head says what is wrong with it
