"""Layers that do not fit into one model are refused with file, layer and tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mergeometry.errors import SourceError
from mergeometry.sources import open_checkpoint
from mergeometry.sources.checkpoint import Checkpoint
from mergeometry.sources.layer_stack import assemble
from mergeometry.sources.stacked import StackedLayers
from tests.helpers.models import write_model

CONFIG = {"model_type": "llama", "num_hidden_layers": 3}


def model(
    folder: Path,
    config: dict[str, Any] | None = None,
    more: Mapping[str, tuple[int, ...]] | None = None,
    *,
    width: int = 4,
) -> Checkpoint:
    names = ("self_attn.q_proj.weight", "mlp.up_proj.weight")
    tensors = {f"model.layers.{n}.{name}": torch.zeros(width, 4) for n in range(3) for name in names}
    tensors |= {"model.embed_tokens.weight": torch.zeros(6, 4), "model.norm.weight": torch.zeros(4)}
    tensors |= {name: torch.zeros(shape) for name, shape in (more or {}).items()}
    write_model(folder, tensors, CONFIG if config is None else config)
    return open_checkpoint(folder, "model")


def stacked(*entries: tuple[Checkpoint, int, int]) -> Checkpoint:
    return assemble([StackedLayers(*entry) for entry in entries], "deep")


def refused(*entries: tuple[Checkpoint, int, int]) -> str:
    with pytest.raises(SourceError) as caught:
        stacked(*entries)
    return str(caught.value)


def test_layers_out_of_range(tmp_path: Path) -> None:
    text = refused((model(tmp_path / "a"), 1, 4))
    assert "layers [1, 4] are asked for, and the model has 3" in text
    assert str(tmp_path / "a") in text
    assert "[0, 3] takes all of them" in text


def test_a_hole(tmp_path: Path) -> None:
    whole = model(tmp_path / "a")
    tensors = {name: info for name, info in whole.tensors.items() if ".1." not in name}
    assert "the model has no layer 1: model.layers.1 is missing" in refused((replace(whole, tensors=tensors), 0, 3))


def test_another_architecture(tmp_path: Path) -> None:
    other = model(tmp_path / "b", {**CONFIG, "model_type": "qwen2"})
    assert "is of type 'qwen2', and the stack's first entry of type 'llama'" in refused(
        (model(tmp_path / "a"), 0, 2), (other, 1, 3)
    )


def test_another_width(tmp_path: Path) -> None:
    text = refused((model(tmp_path / "a"), 0, 2), (model(tmp_path / "b", width=5), 1, 3))
    assert "layer 1 has it in shape [5, 4], the layers of the stack's first entry in [4, 4]" in text
    assert "model.layers.1.mlp.up_proj.weight" in text
    assert str(tmp_path / "b") in text


def test_a_tensor_more(tmp_path: Path) -> None:
    other = model(tmp_path / "b", None, {f"model.layers.{n}.self_attn.q_norm.weight": (4,) for n in range(3)})
    text = refused((model(tmp_path / "a"), 0, 2), (other, 1, 3))
    assert "layer 1 has this tensor, unlike the layers of the stack's first entry" in text


def test_what_only_one_layer_has_stays_where_it_is(tmp_path: Path) -> None:
    first = model(tmp_path / "a", None, {"model.layers.0.position_bias.weight": (4, 4)})
    assert "position_bias.weight" in " ".join(stacked((first, 0, 2), (first, 1, 3)).tensors)
    assert "layer 0 has this tensor, unlike layer 1 of the stack's first entry, where it would stand" in refused(
        (first, 0, 1), (first, 0, 3)
    )


def test_layers_of_different_kinds_follow_their_configuration(tmp_path: Path) -> None:
    config = {**CONFIG, "layer_types": ["full_attention", "conv", "full_attention"]}
    first = model(tmp_path / "a", config, {"model.layers.1.conv.weight": (2, 2)})
    deep = stacked((first, 1, 3), (first, 1, 2))
    assert deep.config is not None
    assert deep.config["layer_types"] == ["conv", "full_attention", "conv"]
    assert {name for name in deep.tensors if "conv" in name} == {f"model.layers.{n}.conv.weight" for n in (0, 2)}


def test_an_end_with_another_vocabulary(tmp_path: Path) -> None:
    untied = {**CONFIG, "tie_word_embeddings": False}
    first = model(tmp_path / "a", untied, {"lm_head.weight": (6, 4)})
    other = model(tmp_path / "b", untied, {"lm_head.weight": (7, 4)})
    text = refused((first, 0, 2), (other, 1, 3))
    assert "lm_head.weight" in text
    assert "has shape [7, 4], and in the stack's first entry has shape [6, 4]" in text


def test_a_tied_start_with_an_untied_end(tmp_path: Path) -> None:
    other = model(tmp_path / "b", {**CONFIG, "tie_word_embeddings": False}, {"lm_head.weight": (6, 4)})
    assert "does not tie its output layer to its table of words, and the stack's first entry does" in refused(
        (model(tmp_path / "a"), 0, 2), (other, 1, 3)
    )


def test_an_encoder_with_a_decoder_and_a_model_without_layers(tmp_path: Path) -> None:
    sides = {f"{side}.block.{n}.layer.0.weight": torch.zeros(2, 2) for side in ("encoder", "decoder") for n in (0, 1)}
    write_model(tmp_path / "t5", sides, {"model_type": "t5", "num_layers": 2})
    assert "the model has several: 'decoder.block', 'encoder.block'" in refused(
        (open_checkpoint(tmp_path / "t5", "t5"), 0, 1)
    )
    write_model(tmp_path / "flat", {"dense.weight": torch.zeros(2, 2)})
    assert "no numbered layers" in refused((open_checkpoint(tmp_path / "flat", "flat"), 0, 1))


def test_a_configuration_that_counts_no_layers(tmp_path: Path) -> None:
    assert "does not count the model's layers" in refused((model(tmp_path / "a", {"architecture": "vit_small"}), 0, 2))


def test_modules_numbered_on_from_the_layers_are_renumbered_with_them(tmp_path: Path) -> None:
    first = model(tmp_path / "a", {**CONFIG, "num_hidden_layers": 2})
    deep = stacked((first, 0, 2), (first, 0, 2))
    assert deep.stack is not None
    assert deep.stack.origins["model.layers.4.mlp.up_proj.weight"].info.name == "model.layers.2.mlp.up_proj.weight"
    assert len(deep.tensors) == 2 * 5 + 2
