"""LoRA files of diffusers, kohya and ComfyUI: one safetensors file, whose names alone say what is in it.

A file may hold adapters of several models, such as a UNet and two text encoders, and spells the modules of each in its
own way. So it is read in two steps: its tensors are sorted by module here, and given to the modules of one base by
`resolved`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeometry.conventions.lora_names import LoraPart, lora_name
from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import AdapterConfig, adapter_config_of
from mergeometry.sources.files import located, naming_model
from mergeometry.sources.header import read_header
from mergeometry.sources.reader import TensorReader
from mergeometry.sources.tensors import TensorInfo

FILE_NAME = "pytorch_lora_weights.safetensors"
"""What diffusers calls the file in a folder."""
_SETTINGS = "lora_adapter_metadata"
"""The key of a file's metadata under which diffusers keeps the settings of PEFT."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """The tensors of one module, as the file spells its name."""

    key: str
    underscored: bool
    parts: Mapping[LoraPart, TensorInfo]
    alpha: float | None

    @property
    def rank(self) -> int:
        """Rows of the first factor."""
        return self.parts["down"].shape[0]


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA file; ``modules`` by the model that they are for, and ``settings`` where the file has PEFT's."""

    path: Path
    label: str
    modules: Mapping[str, tuple[LoraModule, ...]]
    settings: Mapping[str, AdapterConfig] = field(default_factory=dict)


def open_lora_file(path: str | os.PathLike[str], label: str) -> LoraFile | None:
    """Open a LoRA file, or the one in a folder; None where the path holds something else.

    Raises:
        SourceError: it is such a file and is malformed; the error names the label.
    """
    with naming_model(label):
        if not os.path.lexists(path):
            return None
        place = located(path)
        if place.is_dir():
            place = place / FILE_NAME
        if place.suffix != ".safetensors" or not place.is_file():
            return None
        header = read_header(place)
        names = {name: found for name in header.tensors if (found := lora_name(name)) is not None}
        settings = _settings(header.metadata, place, {found.component for found in names.values()})
        if not names or len(names) < len(header.tensors) or any(name.startswith("base_model.") for name in names):
            return None
        if any(not found.component for found in names.values()) and not settings:
            return None  # nothing says how such factors are scaled
        gathered: dict[tuple[str, str, bool], dict[LoraPart, TensorInfo]] = {}
        for name, found in names.items():
            parts = gathered.setdefault((found.component, found.key, found.underscored), {})
            if found.part in parts:
                known = parts[found.part].name
                raise SourceError(f"the tensor occurs twice, also as {known!r}", file=place, tensor=name)
            parts[found.part] = header.tensors[name]
        modules: dict[str, list[LoraModule]] = {}
        with TensorReader() as reader:
            for (component, key, underscored), parts in sorted(gathered.items()):
                _check(parts, place, key)
                alpha = _alpha(reader, parts.get("alpha"), place)
                modules.setdefault(component, []).append(LoraModule(key, underscored, parts, alpha))
        return LoraFile(place, label, {name: tuple(ones) for name, ones in modules.items()}, settings)


def _settings(metadata: Mapping[str, str], file: Path, components: set[str]) -> dict[str, AdapterConfig]:
    """PEFT's settings for each component, from the file's metadata."""
    raw = metadata.get(_SETTINGS)
    if raw is None:
        return {}
    try:
        values: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{_SETTINGS} in its metadata is not valid JSON", file=file) from error
    if not isinstance(values, dict):
        raise SourceError(f"{_SETTINGS} in its metadata is not a mapping", file=file)
    found = {}
    for component in components:
        prefix = f"{component}." if component else ""
        own = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
        if own:
            found[component] = adapter_config_of({"peft_type": "LORA", **own}, file)
    return found


def _check(parts: Mapping[LoraPart, TensorInfo], file: Path, key: str) -> None:
    lacking = [part for part in ("down", "up") if part not in parts]
    if lacking:
        raise SourceError(f"the module {key!r} has no {lacking[0]} factor", file=file, hint="save the adapter again")
    for part, info in parts.items():
        if info.code not in MERGEABLE:
            if part == "alpha":
                continue
            raise SourceError(f"tensors of dtype {info.code} cannot be merged", file=file, tensor=info.name)
    down, up = parts["down"], parts["up"]
    fine = len(down.shape) >= 2 and len(up.shape) >= 2 and 0 not in (*down.shape, *up.shape)
    if not fine or up.shape[1:2] != down.shape[:1]:
        raise SourceError(
            f"factors of the shapes {list(down.shape)} and {list(up.shape)} have no product", file=file, tensor=up.name
        )
    if "magnitude" in parts and parts["magnitude"].name.endswith(".dora_scale"):
        raise SourceError(
            "the file uses DoRA as LyCORIS stores it, whose norm nothing tells",
            file=file,
            tensor=parts["magnitude"].name,
            hint="fold it into its base with LyCORIS's own tools/merge.py, and give the result as a full model",
        )


def _alpha(reader: TensorReader, info: TensorInfo | None, file: Path) -> float | None:
    if info is None:
        return None
    if info.elements != 1:
        raise SourceError(f"alpha has the shape {list(info.shape)}", file=file, tensor=info.name)
    alpha = float(reader.read(info).reshape(()))
    if not math.isfinite(alpha):
        raise SourceError("alpha is not finite", file=file, tensor=info.name)
    return alpha
