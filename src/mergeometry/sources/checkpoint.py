"""Full checkpoints: one safetensors file, or shards with an index, and their config.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.folders import stem_of
from mergeometry.conventions.modules import Module, Part
from mergeometry.conventions.quantised import (
    RECIPE_HINT,
    quantisation_settings,
    quantised_tensor,
)
from mergeometry.errors import SourceError, printable
from mergeometry.hub_names import folder_name
from mergeometry.sources.files import located, naming_model, read_small
from mergeometry.sources.header import Header, read_header
from mergeometry.sources.kinds import refuse_suffix
from mergeometry.sources.modules import read_modules
from mergeometry.sources.quantised import dequantised, open_gguf
from mergeometry.sources.stacked import LayerStack
from mergeometry.sources.survey import Entry, survey
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.weights import (
    ADAPTER_FILE,
    INDEX_FILE,
    SINGLE_FILE,
    has_weights,
    read_weights,
    refuse_foreign_adapter,
)
from mergeometry.strict_json import parse_object

CONFIG_FILE = "config.json"

__all__ = ["ADAPTER_FILE", "CONFIG_FILE", "INDEX_FILE", "SINGLE_FILE", "Checkpoint", "open_checkpoint", "read_config"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A full model on disk: where each of its tensors lies, in order of their names; no weight is read yet."""

    path: Path
    label: str
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None
    files: tuple[Path, ...]
    parts: tuple[Part, ...] = (Part(),)
    """The sets of weights in the folder, each with the prefix of its tensors."""
    contents: tuple[Entry, ...] = ()
    """Every file and subfolder of the model's folder, with what it is."""
    modules: tuple[Module, ...] = ()
    """The modules of a sentence-transformers folder."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Keys of its configuration that are not as in its file, dots leading into sections; None where a key is gone."""
    dequantised: str = ""
    """Which weights are formed from a quantised format while they are read, in words."""
    adapter: Path | None = None
    """The folder of an adapter that is added to its tensors while they are read."""
    stack: LayerStack | None = None
    """Where it was put together from layers of others; its path is then that of the first of them."""

    @property
    def described(self) -> str:
        """What it is, in words: its path, with an adapter's if one is in it; or how it was put together."""
        if self.stack is not None:
            return self.stack.described
        return str(self.path) if self.adapter is None else f"{self.path}+{self.adapter}"

    @property
    def name(self) -> str:
        """What its folder is called, with an adapter's if one is in it."""
        places = [self.path] if self.adapter is None else [self.path, self.adapter]
        return "+".join(folder_name(str(place)) for place in places)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())


def open_checkpoint(path: str | os.PathLike[str], label: str, *, dequantise: bool = False) -> Checkpoint:
    """Open a model's folder or a single safetensors file by reading headers only.

    With ``dequantise``, weights that are stored scaled or packed are formed as numbers while they are read.

    Raises:
        SourceError: a file is missing, malformed, hostile or of a kind that is never read; the error names the label.
    """
    with naming_model(label):
        place = located(path)
        if not place.is_dir():
            if dequantise and place.suffix.lower() == ".gguf":
                tensors, note = open_gguf(place)
                return Checkpoint(place, label, dict(sorted(tensors.items())), {}, None, (place,), dequantised=note)
            refuse_suffix(place)
            if place.name == ADAPTER_FILE:
                raise SourceError(
                    "an adapter's weights mean nothing without its settings", file=place, hint="give its folder"
                )
            # Only the canonical name shows that the config.json next to it belongs to the same model.
            config = read_config(place.parent, quantised=dequantise) if place.name == SINGLE_FILE else None
            header = read_header(place)
            return _checkpoint(place, label, header.tensors, {place: header}, config, dequantise=dequantise)
        return _open_folder(place, label, dequantise=dequantise)


def read_config(folder: Path, root: Path | None = None, *, quantised: bool = False) -> dict[str, Any] | None:
    """Parse the folder's config.json, None if it is missing; SourceError if it is malformed or of a quantised model.

    Links may not leave ``root``, which is the folder itself unless given. With ``quantised``, such a model is accepted.
    """
    path = folder / CONFIG_FILE
    if not path.exists() and not path.is_symlink():
        return None
    raw = read_small(path, root or folder, limits.JSON_BYTES, CONFIG_FILE)
    # Infinity is no JSON, but published state-space models have it in their time-step limits.
    config = parse_object(raw, path, CONFIG_FILE, nesting=limits.JSON_NESTING, finite=False)
    for quantization in () if quantised else quantisation_settings(config):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise SourceError(
            f"the model is quantised ({printable(method[:40]) if isinstance(method, str) else 'quantization_config'}); "
            "arithmetic on quantised numbers means nothing",
            file=path,
            hint=RECIPE_HINT,
        )
    return config


def is_quantised(folder: Path) -> bool:
    """Whether the folder's config.json says that the model is quantised.

    Raises:
        SourceError: it is malformed.
    """
    return any(quantisation_settings(read_config(folder, quantised=True) or {}))


def _open_folder(place: Path, label: str, *, dequantise: bool) -> Checkpoint:
    modules = read_modules(place)
    main = next((module.path for module in modules if module.is_encoder), "")
    config = read_config(place / main, place, quantised=dequantise)
    parts: list[Part] = []
    headers: dict[Path, Header] = {}
    tensors: dict[str, TensorInfo] = {}
    others = dict.fromkeys(module.path for module in modules if module.path not in ("", main))
    with_weights = [path for path in others if has_weights(place / path)]
    for path in ([] if with_weights and not has_weights(place / main) else [main]) + with_weights:
        read, named_by = read_weights(place / path, place)
        part = Part("" if path == main else f"{path}/", path, stem_of(named_by.name))
        parts.append(part)
        headers |= read
        for header in read.values():
            for name, info in header.tensors.items():
                if (whole := part.prefix + name) in tensors:
                    raise SourceError("two modules hold a tensor of this name", file=info.file, tensor=whole)
                tensors[whole] = replace(info, name=whole) if part.prefix else info
    contents = survey(place, frozenset(headers), parts, frozenset(module.path for module in modules))
    checkpoint = _checkpoint(place, label, tensors, headers, config, dequantise=dequantise)
    return replace(checkpoint, parts=tuple(parts), contents=contents, modules=modules)


def _checkpoint(
    place: Path,
    label: str,
    tensors: Mapping[str, TensorInfo],
    headers: dict[Path, Header],
    config: dict[str, Any] | None,
    *,
    dequantise: bool,
) -> Checkpoint:
    refuse_foreign_adapter(tensors)
    changed, note = dict[str, Any](), ""
    if dequantise:
        tensors, config, changed, note = dequantised(tensors, config)
    if found := quantised_tensor({name: info.code for name, info in tensors.items()}):
        name, form = found
        raise SourceError(
            f"the weights are stored as {form.name}; arithmetic on scaled or packed numbers means nothing",
            file=tensors[name].file,
            tensor=name,
            hint=form.hint,
        )
    metadata: dict[str, str] = {}
    for header in reversed(headers.values()):
        metadata.update(header.metadata)
    return Checkpoint(
        path=place,
        label=label,
        tensors=dict(sorted(tensors.items())),
        metadata=metadata,
        config=config,
        files=tuple(headers),
        changed=changed,
        dequantised=note,
    )
