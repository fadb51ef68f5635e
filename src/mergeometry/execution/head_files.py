"""Writes the heads of models next to the merged weights: those that are kept, and those that were learned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial

from mergeometry.deferred import Tensor
from mergeometry.dtypes import codes
from mergeometry.execution.extras import Extras
from mergeometry.execution.task_reader import TaskReader
from mergeometry.plan.plan import Plan
from mergeometry.sink import OutputTensor, Staging, safetensors_pieces
from mergeometry.sources import Checkpoint, TensorInfo, TensorReader


def safe_name(name: str) -> str:
    """A file name for a model or task of any name; different names never share a file name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip("._")[:80]
    return plain if plain and plain == name else f"{plain or 'model'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_heads(plan: Plan, staging: Staging, extras: Extras) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Write every head; return a note on each, and the digests of what was read.

    Raises:
        NumericalError: a head holds NaN or Inf.
        OutputError: a file cannot be written.
    """
    notes, digests = [], {}
    # The class says which feature a head takes: what reads the head later does not have the model's configuration.
    architectures = {
        model.label: {"architecture": str(named[0])}
        for model in plan.models
        if isinstance(model, Checkpoint) and (named := (model.config or {}).get("architectures"))
    }
    with TensorReader() as reader:
        inputs = TaskReader(reader, [model.label for model in plan.models], plan.recipe.output.digest)
        names = {model.label: match.heads for model, match in zip(plan.models, plan.matches, strict=True)}
        for label in dict.fromkeys([*plan.heads, *extras.heads]):
            if label in extras.heads:
                # A learned head replaces the one it came from, which no longer fits the features.
                learned = extras.heads[label]
                planned = [OutputTensor(name, codes()[one.dtype], tuple(one.shape)) for name, one in learned.items()]
                value = learned.__getitem__
            else:
                # Under the model's own names, which have a prefix in an adapter's file.
                infos = dict(zip(names[label], plan.heads[label], strict=True))
                planned = [OutputTensor(name, info.code, info.shape) for name, info in infos.items()]
                value = partial(_kept, inputs, label, infos)
            place = f"heads/{safe_name(label)}.safetensors"
            size, pieces = safetensors_pieces(planned, value, {"model": label, **architectures.get(label, {})})
            staging.write_pieces(place, pieces, size)
            notes.append(f"{label}: {len(planned)} head tensors kept in {place}")
        digests.update(inputs.digests)
    return notes, digests


def _kept(inputs: TaskReader, label: str, infos: Mapping[str, TensorInfo], name: str) -> Tensor:
    tensor = inputs.raw(label, infos[name])
    inputs.finite(label, infos[name], tensor)
    return tensor
