"""Adapters of tables and output layers merge into a vocabulary that is not their base's."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError
from tests.helpers.vocabularies import bpe, fine_tuned, merged_by_hand, model_of, saved


def adapted(base: Any, tokenizer: Any, folder: Path, **settings: Any) -> Any:
    """An adapter of the live model with random weights, saved; returns the live model with it folded in."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=3, init_lora_weights=False, **settings))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "trainable_tokens_delta" in name or "modules_to_save" in name:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model.merge_and_unload()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any, Any, Any]:
    folder, tokenizer = tmp_path_factory.mktemp("adapters"), bpe()
    base = model_of("llama", tokenizer)
    full, own = fine_tuned(base, tokenizer, ["<|turn|>", "<|end|>"], 1)
    saved(folder / "base", base, tokenizer)
    saved(folder / "full", full, own)
    return folder, base, tokenizer, full, own


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["lm_head", "q_proj"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [1, 2, 60]}},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ],
    ids=["factors of the table", "factors of the output layer", "rows of tokens", "whole tables"],
)
def test_an_adapter_of_the_vocabulary_merges_as_its_live_model(
    inputs: tuple[Path, Any, Any, Any, Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder, base, tokenizer, full, own = inputs
    live = adapted(base, tokenizer, tmp_path / "adapter", **settings)
    recipe = {
        "base": str(folder / "base"),
        "models": [{"path": str(folder / "full"), "weight": 0.5}, {"path": str(tmp_path / "adapter"), "weight": 0.25}],
        "method": "task_arithmetic",
        "tokenizer": "union",
    }
    mg.merge(mg.load_recipe(recipe), tmp_path / "merged")
    merged = type(base).from_pretrained(tmp_path / "merged").state_dict()
    known = [tokenizer.get_vocab(), own.get_vocab(), tokenizer.get_vocab()]
    pairs = list(zip((base, full, live), known, strict=True))
    for name, expected in merged_by_hand(pairs, own.get_vocab(), [0.5, 0.25], 129).items():
        torch.testing.assert_close(merged[name].double(), expected, atol=2e-6, rtol=1e-5)


def test_an_adapter_that_brings_tokens_gives_them_to_the_output(
    inputs: tuple[Path, Any, Any, Any, Any], tmp_path: Path
) -> None:
    folder, base, _, _, own = inputs
    resized = copy.deepcopy(base)
    resized.resize_token_embeddings(129, mean_resizing=False)
    live = adapted(resized, own, tmp_path / "adapter", target_modules=["q_proj"],
                   modules_to_save=["embed_tokens", "lm_head"])  # fmt: skip
    recipe = {"base": str(folder / "base"), "models": [str(tmp_path / "adapter")], "method": "task_arithmetic"}
    mg.merge(mg.load_recipe({**recipe, "tokenizer": "union"}), tmp_path / "merged")
    merged = type(base).from_pretrained(tmp_path / "merged")
    ids = own("<|turn|> the rows meet <|end|>", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, live(ids).logits, atol=1e-5, rtol=1e-4)


def test_an_update_of_the_whole_table_is_refused_by_name(
    inputs: tuple[Path, Any, Any, Any, Any], tmp_path: Path
) -> None:
    folder, base, tokenizer, *_ = inputs
    adapted(base, tokenizer, tmp_path / "adapter", target_modules=["embed_tokens"], use_dora=True)
    recipe = {
        "base": str(folder / "base"),
        "models": [str(folder / "full"), str(tmp_path / "adapter")],
        "method": "average",
    }
    with pytest.raises(MismatchError, match=r"adapter: its update of 'model.embed_tokens.weight' is formed"):
        mg.make_plan(mg.load_recipe({**recipe, "tokenizer": "union"}))
