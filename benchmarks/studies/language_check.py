"""From recipe to folder, once: the command learns the same merge, and transformers reads the same from its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.studies.language_scene import Laboratory
from mergeometry.learning.from_plan import Prepared
from mergeometry_suite.language_model.backbone import plain_language_model
from mergeometry_suite.language_model.command import find_domain

SHOWN = ("newswire", "reviews", "messages")
"""Domains whose texts are continued; not tweets, which are about living people: a model must not add to those."""

PROMPT, WRITTEN = 12, 28
"""Tokens of a test text that a generation starts from, and tokens that are added to them."""


def keep_parameters(prepared: Prepared, path: Path) -> None:
    """Write what was learned to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().contiguous() for key, value in _parameters(prepared).items()}, path)


def compare(
    laboratory: Laboratory, method: str, scale: float, section: Mapping[str, Any], learned: Path, work: Path
) -> dict[str, Any]:
    """Run the command on a row's recipe, and compare its folder with the row as it was learned in memory (seed 0)."""
    folder = work / f"merged-{learned.stem}"
    if not folder.is_dir():
        _command(laboratory.recipe(method, scale, section, 0), folder)
    prepared = laboratory.prepare(method, scale, section, 0)
    kept = load_file(learned)
    with torch.no_grad():
        for key, value in _parameters(prepared).items():
            value.copy_(kept[key])
    # All in 32 bit, so that the two differ only by the way to the folder.
    laboratory.dtype = torch.float32
    weights = prepared.scene.merged.weights(prepared.table, torch.float32)
    memory = laboratory.score(weights, "validation", prepared.scene.rotations[0])
    del weights
    model = plain_language_model(folder)
    written = {
        name: laboratory.score_domain(name, {}, "validation", run=lambda given: model(**given).logits)
        for name in laboratory.names
    }
    coefficients = load_file(folder / "adapt" / "coefficients.safetensors")
    found = {
        "memory": memory,
        "folder": written,
        "coefficients_differ": max(float((coefficients[key] - kept[key]).abs().max()) for key in coefficients),
        "tied": bool(model.config.tie_word_embeddings),
        "generated": _generated(laboratory, model),
    }
    shutil.rmtree(folder)
    return found


def _command(recipe: Mapping[str, Any], folder: Path) -> None:
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps(recipe), "utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "mergeometry", "merge", str(path), "--output", str(folder), "--no-report"]
    ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])


def _parameters(prepared: Prepared) -> dict[str, torch.Tensor]:
    rotation = prepared.scene.rotations[0]
    turned = {} if rotation is None else {"rotation": rotation.coordinates.data}
    return {**prepared.table.parameters, **turned}


def _generated(laboratory: Laboratory, model: Any) -> dict[str, dict[str, str]]:
    """The greedy continuation, token by token, of the beginning of the first test text of some domains."""
    tokenizer: Any = laboratory.tokenizer()
    found = {}
    for name in SHOWN:
        numbers = tokenizer(find_domain(name).read().test[0], truncation=True, max_length=PROMPT, return_tensors="pt")
        with torch.no_grad():
            written = model.generate(**numbers, max_new_tokens=WRITTEN, do_sample=False)[0]
        start = numbers["input_ids"].shape[1]
        found[name] = {
            "prompt": tokenizer.decode(written[:start]),
            "continuation": tokenizer.decode(written[start:], skip_special_tokens=True),
        }
    return found
