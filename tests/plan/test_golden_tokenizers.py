"""Our merges of mergekit's recipes for differing vocabularies, beside what mergekit 0.1.5 made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergeometry as mg
from benchmarks.studies.golden_mergekit_tokenizers import CASES, FOLDER, recipe_of


@pytest.mark.parametrize("name", CASES)
def test_tokens_and_tensors_are_those_of_mergekit(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yml"
    file.write_text(recipe_of(name))
    mg.merge(file, tmp_path / "merged")
    content = json.loads((tmp_path / "merged" / "tokenizer.json").read_text())
    ids = content["model"]["vocab"] | {one["content"]: one["id"] for one in content["added_tokens"]}
    # mergekit numbers new tokens by the order of a set of models, which changes from run to run.
    expected = json.loads((FOLDER / "vocabularies.json").read_text())[name]
    assert ids.keys() == expected.keys() and sorted(ids.values()) == sorted(expected.values())
    ours, theirs = load_file(tmp_path / "merged" / "model.safetensors"), load_file(FOLDER / f"{name}.safetensors")
    assert ours.keys() == theirs.keys()
    rows, order = list(ids.values()), [expected[token] for token in ids]
    for tensor, value in theirs.items():
        assert ours[tensor].shape == value.shape
        if tensor in ("model.embed_tokens.weight", "lm_head.weight"):
            torch.testing.assert_close(ours[tensor][rows], value[order], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(ours[tensor][len(ids) :], value[len(ids) :], atol=1e-6, rtol=1e-5)
        else:
            torch.testing.assert_close(ours[tensor], value, atol=1e-6, rtol=1e-5)
