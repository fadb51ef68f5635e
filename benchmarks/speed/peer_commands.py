"""The command of each tool for a method, so that all of them do the same work on the same checkpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.environments import FUSION_BENCH, MERGEKIT
from benchmarks.speed.measure import Case, Limits, merge_command, relative
from benchmarks.speed.sizes import DENSITY

OURS = "mergeometry"
KEPT_BY_CHANCE = 0.1
"""Share of entries that DARE keeps, our default."""

IN_MERGEKIT = {
    "average": "linear",
    "task_arithmetic": "task_arithmetic",
    "ties": "ties",
    "dare_ties": "dare_ties",
}
IN_FUSION_BENCH = ("average", "task_arithmetic", "ties", "iso_c", "tsv_m")
METHODS = ("average", "task_arithmetic", "ties", "dare_ties", "iso_c", "tsv_m")


def tools(method: str) -> list[str]:
    """The tools that have the method, ours first."""
    peers = [("mergekit", method in IN_MERGEKIT), ("fusion-bench", method in IN_FUSION_BENCH)]
    return [OURS, *(name for name, has in peers if has)]


def command(tool: str, method: str, models: Sequence[Path], work: Path, limits: Limits) -> Case:
    """The case of a tool that merges ``models[1:]`` over ``models[0]`` into ``work/out-TOOL``."""
    output = work / f"out-{tool}"
    base, *tuned = models
    if tool == OURS:
        words = merge_command(base, tuned, method, output, workers=1)
    elif tool == "mergekit":
        base, *tuned = (nameless(model, work) for model in models)
        recipe = recipe_file(method, work)
        recipe.write_text(json.dumps(_recipe(method, base, tuned), indent=1))  # JSON is YAML
        # The models have no tokenizer; mergekit would create one and write it.
        words = [str(MERGEKIT.program("mergekit-yaml")), "--no-copy-tokenizer", relative(recipe), relative(output)]
    else:
        words = [str(FUSION_BENCH.program("python")), "benchmarks/speed/fusion_bench_driver.py", method]
        words += [relative(path) for path in (output, base, *tuned)]
    return Case(tool, words, output, limits=limits)


def recipe_file(method: str, work: Path) -> Path:
    """The path of mergekit's recipe for a method."""
    return work / f"mergekit-{method}.json"


def nameless(model: Path, work: Path) -> Path:
    """The same weights with a configuration that transformers cannot build: mergekit then uses the names on disk.

    Where it knows the architecture, it takes the names from transformers; version 5 has others for the layers of a
    vision transformer than those on disk, and mergekit then leaves all of them out of its output without an error.
    For BERT it has a definition of its own, and stops on that with a TypeError (aliases: a list and a tuple added).
    """
    folder = work / "mergekit-inputs" / model.parent.name / model.name
    if not folder.exists():
        folder.mkdir(parents=True)
        config = json.loads((model / "config.json").read_text())
        config |= {"hidden_act": "unlisted", "architectures": ["Unlisted"]}
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "model.safetensors").hardlink_to(model / "model.safetensors")
    return folder


def _recipe(method: str, base: Path, models: Sequence[Path]) -> dict[str, Any]:
    parameters: dict[str, Any] = {"weight": 1.0}
    density = {"ties": DENSITY, "dare_ties": KEPT_BY_CHANCE}.get(method)
    if density is not None:
        parameters["density"] = density
    recipe: dict[str, Any] = {
        "merge_method": IN_MERGEKIT[method],
        "dtype": "float32",
        "models": [{"model": relative(model), "parameters": parameters} for model in models],
        "parameters": {"normalize": method != "task_arithmetic"},
    }
    if method != "average":
        recipe["base_model"] = relative(base)
    return recipe
