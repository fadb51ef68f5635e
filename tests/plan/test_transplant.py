"""A model with the tokens of another: common ones as they were, the others by each rule, held to a reference."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError
from tests.helpers import models
from tests.helpers.vocabularies import bpe, model_of, saved, wordpiece

OTHER = "Merged models answer questions; the rows of tables meet where tokens of tables differ. Numbers: 1 2 3. "


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any, Any, Any]:
    """A model, and a donor of another width, vocabulary and end of text."""
    folder = tmp_path_factory.mktemp("transplant")
    own, theirs = bpe(), bpe(OTHER * 3, size=109)
    theirs.add_special_tokens({"eos_token": "<|stop|>"})
    model, donor = model_of("llama", own), model_of("gpt2", theirs, 1)
    saved(folder / "model", model, own)
    saved(folder / "donor", donor, theirs)
    return folder, model, own, donor, theirs


def transplanted(folder: Path, output: Path, **options: Any) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, LlamaForCausalLM

    recipe = {"base": str(folder / "model"), "models": [str(folder / "model")], "method": "task_arithmetic"}
    mg.merge(mg.load_recipe({**recipe, "tokenizer": {"donor": str(folder / "donor"), **options}}), output)
    model, report = LlamaForCausalLM.from_pretrained(output, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    return model, AutoTokenizer.from_pretrained(output)


def expected_rows(pair: tuple[Path, Any, Any, Any, Any], rule: str, neighbours: int) -> dict[str, torch.Tensor]:
    """Both tables in float64, row by row as the page on tokenizers states it."""
    _, model, own, donor, theirs = pair
    known, wanted = own.get_vocab(), theirs.get_vocab()
    common = {token: known[token] for token in wanted if token in known} | {"<|stop|>": known["</s>"]}
    vectors = donor.get_input_embeddings().weight.detach().double()
    tables = {}
    for name, table in (("table", model.get_input_embeddings()), ("output", model.get_output_embeddings())):
        rows = table.weight.detach().double()
        filled = torch.zeros(len(wanted), rows.shape[1], dtype=torch.float64)
        for token, row in wanted.items():
            if token in common:
                filled[row] = rows[common[token]]
            elif rule == "mean":
                pieces = own.encode(theirs.convert_tokens_to_string([token]), add_special_tokens=False)
                filled[row] = rows[pieces or slice(None)].mean(0)
            else:
                order = list(common)
                points = torch.stack([vectors[wanted[one]] for one in order])
                cosines = torch.nn.functional.cosine_similarity(vectors[row][None], points)
                best = cosines.argsort(descending=True)[:neighbours]
                shares = cosines[best].clamp(min=0) / cosines[best].clamp(min=0).sum()
                filled[row] = sum(
                    share * rows[common[order[place]]] for share, place in zip(shares, best.tolist(), strict=True)
                )
        tables[name] = filled
    return tables


@pytest.mark.parametrize(("rule", "neighbours"), [("mean", 8), ("nearest", 1), ("nearest", 5)])
def test_rows_are_those_of_the_reference(
    pair: tuple[Path, Any, Any, Any, Any], tmp_path: Path, rule: str, neighbours: int
) -> None:
    more = {} if rule == "mean" else {"neighbours": neighbours}
    model, tokenizer = transplanted(pair[0], tmp_path / "out", missing=rule, **more)
    assert tokenizer.get_vocab() == pair[4].get_vocab()
    tables = expected_rows(pair, rule, neighbours)
    for found, name in ((model.get_input_embeddings(), "table"), (model.get_output_embeddings(), "output")):
        torch.testing.assert_close(found.weight.double(), tables[name], atol=2e-7, rtol=1e-5)


def test_texts_of_common_tokens_run_as_before(pair: tuple[Path, Any, Any, Any, Any], tmp_path: Path) -> None:
    folder, model, own, _, theirs = pair
    new, tokenizer = transplanted(folder, tmp_path / "out", missing="omp", neighbours=4)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == len(theirs) == 95
    assert tokenizer.eos_token_id == config["eos_token_id"] == theirs.convert_tokens_to_ids("<|stop|>")
    shared = [token for token in own.get_vocab() if token in theirs.get_vocab()]
    before, after = (torch.tensor([one.convert_tokens_to_ids(shared)]) for one in (own, tokenizer))
    with torch.no_grad():
        ours, theirs_ = new(after).logits[..., after[0]], model(before).logits[..., before[0]]
    torch.testing.assert_close(ours, theirs_, atol=1e-5, rtol=1e-4)
    for name, weight in model.state_dict().items():
        if "embed_tokens" not in name and "lm_head" not in name:
            assert torch.equal(new.state_dict()[name], weight), name


def test_wordpieces_meet_bpe_by_the_texts_that_they_stand_for(
    pair: tuple[Path, Any, Any, Any, Any], tmp_path: Path
) -> None:
    folder, model, own, *_ = pair
    pieces = wordpiece()
    saved(tmp_path / "pieces", model_of("bert", pieces), pieces)
    recipe = {"base": str(folder / "model"), "models": [str(folder / "model")], "method": "task_arithmetic"}
    mg.merge(mg.load_recipe({**recipe, "tokenizer": {"donor": str(tmp_path / "pieces")}}), tmp_path / "out")
    new = type(model).from_pretrained(tmp_path / "out").get_input_embeddings().weight
    old = model.get_input_embeddings().weight
    assert torch.equal(new[pieces.get_vocab()["the"]], old[own.get_vocab()["Ġthe"]])
    assert torch.equal(new[pieces.get_vocab()["##s"]], old[own.get_vocab()["s"]])
    assert torch.equal(new[pieces.get_vocab()["[PAD]"]], old[own.get_vocab()["<pad>"]])


def test_what_a_donor_must_have(pair: tuple[Path, Any, Any, Any, Any], tmp_path: Path) -> None:
    folder, _, _, donor, _ = pair
    donor.save_pretrained(tmp_path / "bare")
    recipe = {"base": str(folder / "model"), "models": [str(folder / "model")], "method": "task_arithmetic"}
    with pytest.raises(MismatchError, match=r"must be a full model with a tokenizer\.json"):
        mg.make_plan(mg.load_recipe({**recipe, "tokenizer": {"donor": str(tmp_path / "bare")}}))
    with pytest.raises(RecipeError, match="`donor` takes the place of `source`"):
        mg.load_recipe({**recipe, "tokenizer": {"donor": "d", "source": "base"}})
    with pytest.raises(RecipeError, match="name one"):
        mg.load_recipe({**recipe, "tokenizer": {"missing": "omp"}})


def test_a_model_without_tokens_gets_none(tmp_path: Path) -> None:
    recipe = {**models.write_family(tmp_path, 1), "method": "average", "tokenizer": {"donor": str(tmp_path / "absent")}}
    with pytest.raises(MismatchError, match="lacks a table of tokens"):
        mg.make_plan(mg.load_recipe(recipe))
    named = {"model.embed_tokens.weight": (11, 6), "layer.0.dense.weight": (8, 6)}
    recipe |= models.write_family(tmp_path / "named", 1, shapes=named)
    with pytest.raises(MismatchError, match="lacks a tokenizer"):
        mg.make_plan(mg.load_recipe(recipe))


def test_fine_tunes_merge_into_the_tokens_of_a_donor(pair: tuple[Path, Any, Any, Any, Any], tmp_path: Path) -> None:
    from tests.helpers.tiny import moved

    folder, model, own, *_ = pair
    saved(tmp_path / "tuned", moved(copy.deepcopy(model), 3), own)
    recipe = {"base": str(folder / "model"), "method": "task_arithmetic", "scale": 1.0}
    options = {"donor": str(folder / "donor"), "missing": "mean"}
    mg.merge(mg.load_recipe({**recipe, "models": [str(tmp_path / "tuned")], "tokenizer": options}), tmp_path / "merged")
    merged = type(model).from_pretrained(tmp_path / "merged").get_input_embeddings().weight
    tuned = type(model).from_pretrained(tmp_path / "tuned").get_input_embeddings().weight
    theirs = pair[4].get_vocab()
    common = [token for token in theirs if token in own.get_vocab()]
    torch.testing.assert_close(
        merged[[theirs[token] for token in common]], tuned[[own.get_vocab()[token] for token in common]]
    )
