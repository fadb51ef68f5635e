"""Merges one small architecture and compares what loads from the output with the live models."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mergeometry as mg
from benchmarks.studies.architectures.catalogue import Architecture
from benchmarks.studies.architectures.inputs import Inputs, inputs_for, outputs_of
from benchmarks.studies.architectures.tiny import build
from mergeometry.errors import MergeometryError

TOLERANCE = 1e-3
"""The largest difference from the live model that counts as rounding, over the change that the merge makes."""
_PAST = "PEFT's own outputs change when it merges the adapter; ours are one of the two"
_SEEN = 1e-4
"""The least change of the outputs by a merge that shows a mistake."""


def check(architecture: Architecture, folder: Path) -> dict[str, Any]:
    """One row of the survey: for each merge its difference from the live model, or why there is none."""
    started = time.perf_counter()
    base = build(architecture.kind, architecture.head, architecture.changes)
    given = inputs_for(base, dict(architecture.shapes))
    base.save_pretrained(folder / "base")
    tunes = [_tuned(base, seed) for seed in (1, 2)]
    for place, tune in enumerate(tunes):
        tune.save_pretrained(folder / f"tune{place}")
    models = [str(folder / "tune0"), str(folder / "tune1")]
    row: dict[str, Any] = {
        "architecture": architecture.kind,
        "family": architecture.family,
        "class": type(base).__name__,
        "parameters": sum(parameter.numel() for parameter in base.parameters()),
    }
    before = outputs_of(base, given)
    recipe = {"base": str(folder / "base"), "models": models}
    row["average"] = _merge(
        base, {**recipe, "method": "average"}, folder / "average", given, before, _mean(base, tunes)
    )
    wanted = _in_memory(base, tunes)
    row["directional"] = _merge(base, {**recipe, "method": "tsv_m"}, folder / "directional", given, before, wanted)
    row |= _adapters(base, folder, given, before)
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


def _merge(
    base: Any, recipe: dict[str, Any], output: Path, given: Inputs, before: list[Tensor], live: Any
) -> dict[str, Any]:
    """Merge, load the output with the base's class, and compare with the live model or its outputs."""
    if isinstance(live, str):
        return {"not_tried": live}
    try:
        mg.merge(recipe, output, workers=1)
    except MergeometryError as error:
        return {"refused": _first_lines(error)}
    references = live if isinstance(live, list) else [outputs_of(live, given)]
    try:
        loaded = type(base).from_pretrained(output).float().eval()
    except Exception as error:
        return {"unloadable": _in_words(error)}
    found = outputs_of(loaded, given)
    difference, wanted = min(((_distance(found, one), one) for one in references), key=lambda pair: pair[0])
    change = _distance(wanted, before)
    return {"difference": difference, "change": change, "same": difference <= TOLERANCE * change and change > _SEEN}


def _distance(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference between any two outputs."""
    return max(float((own - theirs).abs().max()) for own, theirs in zip(one, other, strict=True))


def _tuned(base: Any, seed: int) -> Any:
    """A full fine-tune: every parameter a little elsewhere; tied ones are one parameter, and stay so."""
    tune = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tune.parameters():
            # Others, such as tables of sines, are computed by the class and not saved.
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return tune


def _mean(base: Any, tunes: list[Any]) -> Any:
    mean = copy.deepcopy(base)
    with torch.no_grad():
        for own, *others in zip(*(model.parameters() for model in (mean, *tunes)), strict=True):
            own.copy_(torch.stack(others).mean(dim=0))
    return mean


def _in_memory(base: Any, tunes: list[Any]) -> Any:
    """The same directional merge of the modules themselves, under the names and layouts that they have in memory."""
    try:
        return mg.merge_modules(base, tunes, "tsv_m")
    except MergeometryError as error:
        return f"in memory: {_first_lines(error)}"


def _adapters(base: Any, folder: Path, given: Inputs, before: list[Tensor]) -> dict[str, Any]:
    """One LoRA adapter at scale 1, and the sum of two, against the live PEFT model."""
    import peft  # noqa: PLC0415  (slow to import)

    try:
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        torch.manual_seed(3)
        live = peft.get_peft_model(copy.deepcopy(base), config, adapter_name="one")
        live.add_adapter("two", peft.LoraConfig(**{**config.to_dict(), "target_modules": "all-linear"}))
        with torch.no_grad():
            for name, parameter in live.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.1 * torch.randn_like(parameter))
        live.eval().save_pretrained(str(folder / "adapters"))
        inner = live.base_model.model
        single, double = (_live(live, inner, chosen, given) for chosen in (["one"], ["one", "two"]))
    except Exception as error:
        reason = f"PEFT: {_in_words(error)}"
        return {"adapter": {"not_tried": reason}, "adapters": {"not_tried": reason}}
    one, two = str(folder / "adapters" / "one"), str(folder / "adapters" / "two")
    recipe = {"base": str(folder / "base"), "method": "task_arithmetic"}
    return {
        "notes": [_PAST] if _distance(*single) > TOLERANCE else [],
        "adapter": _merge(base, {**recipe, "models": [one]}, folder / "single", given, before, single),
        "adapters": _merge(base, {**recipe, "models": [one, two]}, folder / "double", given, before, double),
    }


def _live(live: Any, inner: Any, adapters: list[str], given: Inputs) -> list[list[Tensor]]:
    """The outputs of the live PEFT model, and of the same with the adapters merged: these differ in a few models.

    Merging an adapter of one of two tied weights changes both, and a model that reads a weight itself, past the
    layer, runs without the adapter until it is merged.
    """
    live.base_model.set_adapter(adapters)
    apart = outputs_of(inner, given)
    live.merge_adapter(adapter_names=adapters)
    merged = outputs_of(inner, given)
    live.unmerge_adapter()
    return [apart, merged]


def _first_lines(error: MergeometryError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:400]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
