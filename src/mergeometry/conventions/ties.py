"""Tensors that models share: a table of word embeddings and the output layer over the same words, and their copies.

Source: `_tied_weights_keys` of the models of Transformers 5.23. A file may hold one of them, or several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mergeometry.conventions.configs import sections

_TABLES = (
    "embed_tokens.weight", "shared.weight", "wte.weight", "word_embeddings.weight", "word_embedding.weight",
    "tok_embeddings.weight", "tokens_embed.weight", "embed_in.weight", "embeddings.weight",
)  # fmt: skip
_OUTPUTS = (
    "lm_head.weight", "lm_head.decoder.weight", "lm_head.out_proj.weight", "predictions.decoder.weight",
    "generator_lm_head.weight", "pred_layer.proj.weight", "proj_out.weight", "vocab_projector.weight",
    "lm_loss.weight", "embed_out.weight", "output_projection.weight", "mlm_score.decoder.weight",
)  # fmt: skip
_BIASES = {"predictions.decoder.bias": "predictions.bias", "lm_head.decoder.bias": "lm_head.bias"}
"""The bias of an output layer, and the parameter of the module around it that it is."""
_BIAS = "bias"

OUTPUT_BIASES = (*(f"{name.removesuffix('.weight')}.bias" for name in _OUTPUTS), *_BIASES.values(), "mlm_score.bias")
"""Biases with an entry for each token."""

_PREDICTS_WORDS = ("ForCausalLM", "LMHead", "ForConditionalGeneration", "DoubleHeads")
_PROJECTS_OUT = frozenset({"whisper", "moonshine"})

_PARTS_WITH_OUTPUTS = ("decoder", "text_decoder", "language_model", "text_model")
"""Parts of composite models whose table an output layer shares, where several parts have one."""

_SCALED_WHERE_TIED = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers", "udop", "pop2piano"})
"""Models that scale what enters a tied output layer, so that untying them in the configuration changes them."""


@dataclass(frozen=True, slots=True)
class Halves:
    """The table of word embeddings among some names, and the output layer that may share it, or None."""

    table: str | None
    output: str | None
    copies: Mapping[str, str]
    """Other tensors that are always copies, each with what it is a copy of."""


def is_output(name: str) -> bool:
    """Whether the name is that of an output layer over words, which many models tie to their table."""
    return _ends(name, _OUTPUTS) or name == "decoder.weight"


def is_output_bias(name: str) -> bool:
    """Whether the name is that of the bias of an output layer over words."""
    return _ends(name, OUTPUT_BIASES)


def is_table(name: str) -> bool:
    """Whether the name is that of a table of word embeddings."""
    return _ends(name, _TABLES)


def halves(shapes: Mapping[str, Sequence[int]]) -> Halves:
    """Find the table and the output layer among tensors by their names; of several tables, the output layer's own."""
    outputs = [name for name in shapes if is_output(name) and len(shapes[name]) == 2]
    output = outputs[0] if len(outputs) == 1 else None
    tables = [name for name in shapes if is_table(name) and len(shapes[name]) == 2]
    if output is not None:
        tables = [name for name in tables if tuple(shapes[name]) == tuple(shapes[output])]
    shared = [name for name in tables if name.endswith("shared.weight")]
    table = _only(shared) or _only(tables) or _only(name for name in tables if _of_a_part_with_output(name, output))
    copies = {
        name: source
        for name in shapes
        if name.endswith(_BIAS)
        for end, of in _BIASES.items()
        if _ends(name, (end,)) and (source := name.removesuffix(end) + of) in shapes
    }
    if table is not None and table in shared:
        copies |= {name: table for name in tables if name != table and name.endswith("embed_tokens.weight")}
    return Halves(table, output if table is not None else None, copies)


def tying(config: Mapping[str, Any] | None) -> bool | None:
    """What a configuration says of tying the table and the output layer; None where it says nothing, or both."""
    found = {path: section.get("tie_word_embeddings") for path, section in sections(config)}
    if isinstance(found.get(""), bool):
        return found[""]
    said = {value for value in found.values() if isinstance(value, bool)}
    return said.pop() if len(said) == 1 else None


def hidden_output(names: Iterable[str], config: Mapping[str, Any] | None) -> str | None:
    """The output layer that a model has but does not store, since it is tied; None where nothing says that it has one.

    Its bias shows it, or a class of the configuration that predicts words.
    """
    stored = set(names)
    for name in sorted(name for name in stored if name.endswith(_BIAS)):
        for output in _OUTPUTS:
            module = output.removesuffix(".weight")
            for bias in (f"{module}.bias", _BIASES.get(f"{module}.bias", "")):
                weight = f"{name.removesuffix(bias)}{output}"
                if bias and _ends(name, (bias,)) and not (bias == "lm_head.bias" and _has_layers(stored)):
                    if weight in stored:
                        continue  # a layer of its own, as the `proj_out` of diffusion models
                    return weight
    if any(_ends(name, ("lm_head.bias",)) for name in stored):
        return "lm_head.decoder.weight"
    architectures = (config or {}).get("architectures")
    classes = [str(one) for one in architectures] if isinstance(architectures, list) else []
    if not any(end in one for one in classes for end in _PREDICTS_WORDS):
        return None
    return "proj_out.weight" if (config or {}).get("model_type") in _PROJECTS_OUT else "lm_head.weight"


def scales_where_tied(config: Mapping[str, Any] | None) -> bool:
    """Whether the configuration's word for tying also scales what enters the output layer, as T5's does."""
    return (config or {}).get("model_type") in _SCALED_WHERE_TIED


def _of_a_part_with_output(name: str, output: str | None) -> bool:
    parts = name.split(".")
    if output is not None and "." in output and output.split(".")[0] in _PARTS_WITH_OUTPUTS:
        return parts[0] == output.split(".")[0]
    return any(part in _PARTS_WITH_OUTPUTS for part in parts)


def _has_layers(stored: Iterable[str]) -> bool:
    """Whether the head has layers of its own, as RoBERTa's, whose output layer is `lm_head.decoder`."""
    return any(name.endswith(("lm_head.dense.weight", "lm_head.layer_norm.weight")) for name in stored)


def _ends(name: str, ends: tuple[str, ...]) -> bool:
    return name.endswith(_dotted(ends)) or name in ends


@cache
def _dotted(ends: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f".{end}" for end in ends)


def _only(names: Iterable[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None
