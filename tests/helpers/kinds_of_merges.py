"""Small merges of every kind of input and output, to be broken off: their inputs, recipes and options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers import learning_models, models
from tests.helpers.gguf_files import write_gguf
from tests.helpers.whole_merges import write_inputs


@dataclass(frozen=True)
class Merge:
    """A recipe, the name of its output, and the options of `merge`."""

    recipe: dict[str, Any]
    name: str = "out"
    options: dict[str, Any] = field(default_factory=dict)


def folder(place: Path) -> Merge:
    """Two full fine-tunes to a folder."""
    return Merge({**write_inputs(place), **_SUM})


def adapter(place: Path) -> Merge:
    """Two adapters to an adapter."""
    recipe = {**write_inputs(place, adapters=2), "method": "dc_merge", "scale": 0.5}
    return Merge({**recipe, "output": {"adapter": True}})


def file(place: Path) -> Merge:
    """Single files to a single file."""
    write_inputs(place)
    for name in ("base", "task0", "task1"):
        whole = models.loaded(place / name)
        shutil.rmtree(place / name)
        models.write_model(place / name, whole)
    base, *tuned = (str(place / name / "model.safetensors") for name in ("base", "task0", "task1"))
    entries = [{"path": path, "name": name} for path, name in zip(tuned, ("one", "two"), strict=True)]
    return Merge({"base": base, "models": entries, **_SUM}, "out.safetensors")


def residuals(place: Path) -> Merge:
    """A folder with a residual of each model beside the merged weights."""
    return Merge({**write_inputs(place), **_SUM, "output": {"residuals": {"rank": 2}}})


def gguf(place: Path) -> Merge:
    """Two quantised models of a base in GGUF."""
    from mergeometry.sources import TensorReader, open_checkpoint

    tuned = [write_gguf(place / f"task{number}.gguf", "Q8_0", seed=number) for number in range(2)]
    with TensorReader() as reader:
        held = open_checkpoint(tuned[0], "model", dequantise=True).tensors
        base = {name: reader.read(info) + 0.1 for name, info in held.items()}
    models.write_model(place / "base", base, {"model_type": "llama", "tie_word_embeddings": False})
    recipe = {"base": str(place / "base"), "models": [str(path) for path in tuned], **_SUM}
    return Merge(recipe, options={"dequantise": True})


def search(place: Path) -> Merge:
    """A merge whose scale is the best of a few on labelled inputs."""
    from tests.helpers.labelled_tasks import written

    written(place, learning_models.family(place, count=8))
    recipe = json.loads((place / "recipe.yaml").read_text())
    return Merge({**recipe, "scale": {"values": [0.4, 1.0, 1.6], "tasks": str(place / "tasks.yaml")}})


_SUM = {"method": "task_arithmetic", "scale": 0.5}
KINDS: dict[str, Callable[[Path], Merge]] = {
    made.__name__: made for made in (folder, adapter, file, residuals, gguf, search)
}
