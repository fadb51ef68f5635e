"""The modules of a sentence-transformers folder, as its `modules.json` lists them.

Source: sentence-transformers `SentenceTransformer.py`, `_load_sbert_model` and `save`, and `models/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

MODULES_FILE = "modules.json"
ENCODERS = frozenset({"Transformer", "CLIPModel", "MLMTransformer"})
"""Modules whose weights are a model of transformers, and keep their names."""
ENCODER_SETTINGS = "sentence_*_config.json"
"""The encoder's own settings, next to its config.json."""
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_RENAMED = {"word_embedding_dimension": "embedding_dimension"}
_DEFAULTS = {"include_prompt": True, "bias": True, "do_lower_case": False}
_UNIMPORTANT = frozenset({"__version__", "max_seq_length", "model_type", "transformer_task", "modality_config"})
_NO_DEFAULT = object()
_NESTED = frozenset({"Router", "Asym"})
_OWN = ("sentence_transformers.", "pylate.")


@dataclass(frozen=True, slots=True)
class Module:
    """One step from a text to its embedding: where its files lie, and its class."""

    path: str
    type: str
    settings: Mapping[str, Any] | None = None
    """What its configuration says; None where it has none."""

    @property
    def kind(self) -> str:
        """The class without its module: `Pooling` of `sentence_transformers.models.Pooling`."""
        return self.type.rpartition(".")[2]

    @property
    def is_encoder(self) -> bool:
        """Whether its weights are the model itself."""
        return self.kind in ENCODERS

    @property
    def is_nested(self) -> bool:
        """Whether it holds modules of its own."""
        return self.kind in _NESTED

    @property
    def is_code(self) -> bool:
        """Whether it is a class that comes with the folder, whose code is never run nor copied."""
        return not self.type.startswith(_OWN)


class Part(NamedTuple):
    """One set of weights in a model's folder: what precedes its tensors' names, and where and under which name it lies.

    `2_Dense/model.safetensors` is the part ``Part("2_Dense/", "2_Dense", "model")``.
    """

    prefix: str = ""
    folder: str = ""
    stem: str = "model"


def part_of(name: str, parts: Sequence[Part]) -> Part:
    """The part that a tensor belongs to: the one with the longest prefix of its name."""
    fitting = [part for part in parts if name.startswith(part.prefix)]
    return max(fitting, key=lambda part: len(part.prefix), default=Part())


def plain_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """A module's settings without what versions of the library write differently.

    Modes of pooling are one set, whether each is a key (up to version 5.0) or all are one (`pooling_mode`), and values
    that are the defaults of `models/` are left out.
    """
    plain: dict[str, Any] = {}
    modes = set()
    for key, value in (settings or {}).items():
        if key.startswith("pooling_mode_"):
            modes |= {_MODES.get(key, key)} if value else set()
        elif key == "pooling_mode":
            modes |= {value} if isinstance(value, str) else {str(mode) for mode in value or ()}
        elif key not in _UNIMPORTANT and _DEFAULTS.get(key, _NO_DEFAULT) != value:
            plain[_RENAMED.get(key, key)] = value
    return {**plain, "pooling_mode": " + ".join(sorted(modes))} if modes else plain


def modules_of(content: Any) -> tuple[Module, ...]:
    """The modules in their order, from the parsed file.

    Raises:
        ValueError: the content is no list of modules, or leads out of the folder.
    """
    if not isinstance(content, list):
        raise ValueError("modules.json does not list modules with a type and a path")
    modules = []
    for entry in content:
        kind, place = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str):
            raise ValueError("modules.json does not list modules with a type and a path")
        place = "" if place == "." else place.removesuffix("/")
        if "/" in place or "\\" in place or place == ".." or "\0" in place:
            raise ValueError("modules.json leads out of the model's folder")
        modules.append(Module(place, kind))
    return tuple(modules)
