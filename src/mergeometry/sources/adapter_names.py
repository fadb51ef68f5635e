"""What the name of a tensor in an adapter's file says it is.

| name in the file, after `base_model.model.` | part |
| --- | --- |
| `M.lora_A.weight`, `M.lora_B.weight` | `A`, `B` of a layer |
| `M.lora_embedding_A`, `M.lora_embedding_B` | `A`, `B` of an embedding |
| `M.lora_B.bias` | `factor bias`, with `lora_bias` |
| `M.lora_magnitude_vector` | `magnitude`, with `use_dora` |
| `M.token_adapter.trainable_tokens_delta` | `tokens`: rows of an embedding |
| `M.modules_to_save.P` | `saved copy`: what PEFT passes over where `M.P` is there |
| `M.original_module.P` | `original`: the base's, of a module that is saved whole |
| `M.base_layer.weight` | `carried`: the base's, of an embedding that is adapted |
| `M.ln_tuning_layers.P` | `saved`, of an adapter of norms |
| `M.bias`, `M.base_layer.bias` | `saved`, with `bias: all` or `lora_only` |
| any other `M.P` | `saved`, if M is a module that PEFT saves whole |
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from mergeometry.sources.adapter_config import AdapterConfig

PREFIX = "base_model.model."

PartKind: TypeAlias = Literal[
    "A", "B", "embedding A", "embedding B", "factor bias", "magnitude", "tokens", "saved", "saved copy", "original",
    "carried",
]  # fmt: skip

_ADAPTER = r"(?:\.(?P<adapter>[^.]+))?"
_FACTOR = re.compile(rf"(?P<module>.+)\.lora_(?P<factor>[AB]){_ADAPTER}\.(?P<parameter>weight|bias)")
_EMBEDDING_FACTOR = re.compile(rf"(?P<module>.+)\.lora_embedding_(?P<factor>[AB]){_ADAPTER}")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?")
_TOKENS = re.compile(rf"(?P<module>.+?)(?:\.token_adapter)?\.trainable_tokens_delta{_ADAPTER}")
_SAVED_COPY = re.compile(r"(?P<module>.+)\.modules_to_save\.(?P<parameter>.+)")
_ORIGINAL = re.compile(r"(?P<module>.+)\.original_module\.(?P<parameter>.+)")
_CARRIED = re.compile(r"(?P<module>.+?)(?:\.token_adapter)?\.base_layer\.weight")
_NORM = re.compile(rf"(?P<module>.+)\.ln_tuning_layers{_ADAPTER}\.(?P<parameter>weight|bias)")
_BIAS = re.compile(r"(?P<module>.+?)(?:\.base_layer)?\.bias")
_EMBEDDINGS = {"embed_tokens", "lm_head", "wte", "word_embeddings", "shared", "embed_in", "embed_out"}
"""Modules whose whole weight PEFT saves on its own when the vocabulary was resized."""


class Part(NamedTuple):
    """What a tensor is: a kind, the module that it belongs to, a parameter, and an adapter if the name holds one."""

    kind: PartKind
    module: str
    parameter: str = "weight"
    adapter: str | None = None

    @property
    def weight(self) -> str:
        """Name of the base's tensor that it belongs to."""
        return f"{self.module}.{self.parameter}"


def part_of(name: str, config: AdapterConfig) -> Part | None:
    """Sort a tensor in by its name; None if the name is not understood."""
    short = name.removeprefix(PREFIX)
    if short == name:
        return None
    if match := _FACTOR.fullmatch(short):
        return _factor(match, config)
    if match := _EMBEDDING_FACTOR.fullmatch(short):
        kind: PartKind = "embedding A" if match["factor"] == "A" else "embedding B"
        return Part(kind, match["module"], adapter=match["adapter"])
    if config.dora and (match := _MAGNITUDE.fullmatch(short)):
        return Part("magnitude", match["module"], adapter=match["adapter"])
    if config.tokens and (match := _TOKENS.fullmatch(short)):
        return Part("tokens", match["module"], adapter=match["adapter"])
    if ".lora_" in short:
        return None
    if match := _SAVED_COPY.fullmatch(short):
        return Part("saved copy", match["module"], match["parameter"])
    if match := _ORIGINAL.fullmatch(short):
        return Part("original", match["module"], match["parameter"])
    if match := _CARRIED.fullmatch(short):
        return Part("carried", match["module"])
    if config.kind == "LN_TUNING" and (match := _NORM.fullmatch(short)):
        return Part("saved", match["module"], match["parameter"], match["adapter"])
    if config.biases_saved and (match := _BIAS.fullmatch(short)):
        return Part("saved", _without_base_layers(match["module"]), "bias")
    if _is_saved_whole(short, config):
        module, _, parameter = short.rpartition(".")
        return Part("saved", module, parameter)
    return None


def _factor(match: re.Match[str], config: AdapterConfig) -> Part | None:
    kind: PartKind = "A" if match["factor"] == "A" else "B"
    if match["parameter"] == "weight":
        return Part(kind, match["module"], adapter=match["adapter"])
    if kind == "B" and config.factors_have_biases:
        return Part("factor bias", match["module"], "bias", match["adapter"])
    return None


def _is_saved_whole(name: str, config: AdapterConfig) -> bool:
    parts = name.split(".")
    if len(parts) > 1 and parts[-2] in _EMBEDDINGS and parts[-1] == "weight":
        return True
    # PEFT's rule: a module is saved whole if its name ends with one of the settings', dots or not.
    modules = (".".join(parts[:length]) for length in range(1, len(parts)))
    return any(module.endswith(config.modules_to_save) for module in modules)


def _without_base_layers(module: str) -> str:
    return ".".join(part for part in module.split(".") if part != "base_layer")
