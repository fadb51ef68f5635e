"""Which layer of a model a tensor belongs to, by its name, and which tensors come before and after the layers.

Layers are numbered: what precedes the number of `model.layers.7.mlp.up_proj.weight` names a tower of layers. Most models
have one tower; encoders with decoders, and models that see or hear, have several.

| what precedes the number | models |
| --- | --- |
| `model.layers`, `model.language_model.layers`, `gpt_neox.layers`, `backbone.layers`, `model.decoder.layers` | Llama and nearly all since, GPT-NeoX, Mamba, OPT |
| `encoder.layer`, `transformer.layer` | BERT, RoBERTa, ViT and their kin; DistilBERT, XLNet |
| `transformer.h` | GPT-2, Falcon, BLOOM, GPT-J |
| `encoder.block`, `decoder.block` | T5 |
| `blocks`, `visual.blocks`, `transformer.blocks` | timm, the vision towers of Qwen, MPT |
| `visual.transformer.resblocks` | open_clip |
| `transformer_blocks`, `single_transformer_blocks`, `double_blocks`, `single_blocks`, `joint_blocks` | transformers of diffusion |
| `stages`, `down_blocks`, `up_blocks` | ConvNeXt, U-Nets: stages of several layers |

Source: the module lists of the modelling files of Transformers 5.23, timm, open_clip and diffusers.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mergeometry.conventions.configs import section_of, sections

_LISTS = (
    "layers", "layer", "h", "block", "blocks", "resblocks", "decoder_layers", "transformer_blocks",
    "single_transformer_blocks", "double_blocks", "single_blocks", "joint_blocks", "stages", "down_blocks", "up_blocks",
)  # fmt: skip
_NUMBERED = re.compile(rf"(?P<tower>(?:.*?\.)??(?:{'|'.join(_LISTS)}))\.(?P<index>\d{{1,5}})\.(?P<rest>.+)")

_BEFORE_WORDS = ("embed", "position")
_BEFORE = frozenset({
    "wte", "wpe", "w", "shared", "embd", "conv1", "conv2", "cls_token", "reg_token", "dist_token", "mask_token",
    "register_tokens", "patch_conv", "pre_layrnorm", "ln_pre", "layernorm_pre", "norm_pre", "stem", "project_in",
    "conv_in", "time_text_embed", "x_embedder", "context_embedder", "img_in", "txt_in", "time_in", "vector_in",
    "guidance_in", "input_projection", "rotary_emb", "rotary_pos_emb", "relative_attention_bias",
})  # fmt: skip
"""Parts of names before the layers: tables, patches, tokens of their own, and norms over them."""
_AFTER = frozenset({"embed_out"})
"""Parts that look like tables and are output layers."""
_BRIDGES = ("projector", "connector", "vision_adapter", "merger", "qformer", "query_tokens", "image_newline")
"""What carries another tower's output to the layers of the language model, and so comes before them."""
_SENSES = {
    "vision": "vision",
    "visual": "vision",
    "image": "vision",
    "video": "vision",
    "audio": "audio",
    "speech": "audio",
}
"""How the names of towers begin that read something other than tokens, and how their sections are called."""
_LANGUAGE = frozenset({"text_config", "llm_config", "language_config"})
"""Sections of the model that reads the tokens, whatever its tensors are called."""

COUNTS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers",
    "num_transformer_layers", "depth",
)  # fmt: skip
"""Keys of a configuration that count layers."""


@dataclass(frozen=True, slots=True)
class Tower:
    """Layers that follow each other and are numbered from 0."""

    name: str
    """What precedes their numbers, such as `model.layers`."""
    count: int
    section: str = ""
    """The section of the configuration that describes them, dotted: "" or `text_config`."""
    keys: tuple[str, ...] = ()
    """The keys in it that count them; none where the configuration does not count them."""


class Place(NamedTuple):
    """Where a tensor lies: in a layer, or before or after all layers of its tower."""

    tower: Tower
    layer: int | None
    """The number of its layer; None before and after the layers."""
    after: bool = False

    @property
    def depth(self) -> float:
        """0 at the first layer and before it, 1 at the last and after it, evenly between; 1 at an only layer."""
        if self.layer is None:
            return float(self.after)
        return self.layer / (self.tower.count - 1) if self.tower.count > 1 else 1.0


class LayerNames:
    """The towers of one model, from the names of all its tensors and its configuration."""

    def __init__(self, names: Iterable[str], config: Mapping[str, Any] | None) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self._found = {name: match for name in self.names if (match := _NUMBERED.fullmatch(name))}
        numbers: dict[str, int] = {}
        for match in self._found.values():
            numbers[match["tower"]] = max(numbers.get(match["tower"], 0), int(match["index"]) + 1)
        self.towers: Mapping[str, Tower] = {
            name: _tower(name, count, config) for name, count in sorted(numbers.items())
        }

    @property
    def main(self) -> Tower | None:
        """The tower whose layers are meant where nothing says which: the only one, or the only one over tokens.

        None where there are no layers, or several such towers, as an encoder and a decoder.
        """
        tokens = [tower for tower in self.towers.values() if not _senses(tower.name)]
        candidates = tokens or list(self.towers.values())
        return candidates[0] if len(candidates) == 1 else None

    def place(self, name: str) -> Place | None:
        """Where a tensor lies; None in a model without layers."""
        if (match := self._found.get(name)) is not None:
            tower, index = self.towers[match["tower"]], int(match["index"])
            # Further numbers than the configuration counts are modules after the layers, which predict more tokens.
            return Place(tower, index) if index < tower.count else Place(tower, None, after=True)
        tower = self._nearest(name)
        return None if tower is None else Place(tower, None, after=not self._is_before(name, tower))

    def renamed(self, name: str, index: int) -> str:
        """A layer's tensor under another number."""
        match = self._found[name]
        return f"{match['tower']}.{index}.{match['rest']}"

    def number(self, name: str) -> int | None:
        """The number in a tensor's name, which may be one that the configuration does not count."""
        match = self._found.get(name)
        return None if match is None else int(match["index"])

    def _nearest(self, name: str) -> Tower | None:
        """The tower that a tensor outside all layers belongs to: the one with which it shares most of its name.

        Of several, the main one; or the first, since before and after the layers all towers are alike.
        """
        parts = name.split(".")
        shared = {tower.name: _shared(parts, tower.name.split(".")) for tower in self.towers.values()}
        most = max(shared.values(), default=0)
        nearest = [self.towers[name] for name, count in shared.items() if count == most]
        return nearest[0] if len(nearest) == 1 and most else self.main or next(iter(nearest), None)

    @staticmethod
    def _is_before(name: str, tower: Tower) -> bool:
        parts = name.split(".")
        if _AFTER & set(parts):
            return False
        if any(part in _BEFORE or any(word in part for word in _BEFORE_WORDS) for part in parts):
            return True
        # Seen from the language model, whatever feeds it comes before; a tower's own norms and heads come after it.
        return not _senses(tower.name) and (_senses(name) or any(word in part for word in _BRIDGES for part in parts))


def _tower(name: str, found: int, config: Mapping[str, Any] | None) -> Tower:
    """A tower with the count that the configuration gives, where it counts no more layers than there are."""
    described, by_path = section_of(f"{name}.0.weight", config), dict(sections(config))
    sense = next((_SENSES[word] for part in name.split(".") for word in _SENSES if part.startswith(word)), None)
    named = _LANGUAGE if sense is None else frozenset({f"{sense}_config"})
    paths = [path for path, section in by_path.items() if section is described and (path or sense is None)]
    paths += [path for path in by_path if path.rpartition(".")[2] in named]
    paths += [""] if sense is not None and len(by_path) == 1 else []
    for path in dict.fromkeys(paths):
        counts = {key: value for key in _keys_for(name) if type(value := by_path[path].get(key)) is int}
        count = next((value for value in counts.values() if 0 < value <= found), None)
        if count is not None:
            return Tower(name, count, path, tuple(key for key, value in counts.items() if value == count))
    return Tower(name, found, next(iter(paths), ""))


def _keys_for(name: str) -> tuple[str, ...]:
    """The keys that may count a tower's layers, the ones of its own side first."""
    if "decoder" in name.split("."):
        return ("decoder_layers", "num_decoder_layers", *(key for key in COUNTS if not key.startswith("encoder")))
    if "encoder" in name.split("."):
        return ("encoder_layers", *(key for key in COUNTS if "decoder" not in key))
    return COUNTS


def _shared(one: list[str], other: list[str]) -> int:
    """How many parts two names have in common from the start."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _senses(name: str) -> bool:
    """Whether a part of a name is that of a tower that reads something other than tokens."""
    return any(part.startswith(tuple(_SENSES)) and not part.endswith(_BRIDGES) for part in name.split("."))
