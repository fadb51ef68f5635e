"""Tied tables: the live model says what an adapter of one half is, and copies of one tensor are one tensor."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError
from tests.helpers import models
from tests.helpers.tiny import moved, tiny, tokens

TABLE, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder, base = tmp_path_factory.mktemp("llama"), tiny("llama-tied")
    base.save_pretrained(folder)
    assert OUTPUT not in models.loaded(folder)
    return folder, base


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def adapter_of(base: Any, folder: Path, **settings: Any) -> Any:
    """Write a trained adapter, and return the live model with it."""
    live = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, **settings))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    live.save_pretrained(str(folder))
    return live.eval()


ONE_HALF = {
    "factors of the table": {"target_modules": ["q_proj", "embed_tokens"]},
    "factors of the output layer": {"target_modules": ["q_proj", "lm_head"]},
    "factors of both": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "the whole table": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "the whole output layer": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "both whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
}


@pytest.mark.parametrize("case", ONE_HALF)
def test_an_adapter_that_parts_the_halves_unties_the_output(tmp_path: Path, llama: tuple[Path, Any], case: str) -> None:
    folder, base = llama
    live = adapter_of(base, tmp_path / "adapter", **ONE_HALF[case])
    run = mg.merge(base=folder, models=[tmp_path / "adapter"], method="task_arithmetic", output=tmp_path / "out")
    assert config_of(tmp_path / "out")["tie_word_embeddings"] is False
    assert any("is untied from" in note for note in run.warnings)
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, live(tokens()).logits, atol=2e-6, rtol=0)


def test_an_adapter_of_neither_half_keeps_the_tie(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    folder, base = llama
    live = adapter_of(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    mg.merge(base=folder, models=[tmp_path / "adapter"], method="task_arithmetic", output=tmp_path / "out")
    assert OUTPUT not in models.loaded(tmp_path / "out") and config_of(tmp_path / "out")["tie_word_embeddings"]
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, live(tokens()).logits, atol=2e-6, rtol=0)


def test_two_models_one_of_which_parts_the_halves(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    folder, base = llama
    adapter_of(base, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    tuned = moved(copy.deepcopy(base), 3)
    tuned.save_pretrained(tmp_path / "tuned")
    mg.merge(
        base=folder,
        models=[tmp_path / "adapter", tmp_path / "tuned"],
        method="task_arithmetic",
        output=tmp_path / "out",
    )
    out = models.loaded(tmp_path / "out")
    change = tuned.state_dict()[OUTPUT] - base.state_dict()[OUTPUT]
    factors = models.loaded(tmp_path / "adapter", "adapter_model")
    up, down = (factors[f"base_model.model.lm_head.lora_{factor}.weight"] for factor in "BA")
    torch.testing.assert_close(out[TABLE], base.state_dict()[TABLE] + change, atol=2e-6, rtol=0)
    torch.testing.assert_close(out[OUTPUT], base.state_dict()[TABLE] + change + 4 * up @ down, atol=2e-6, rtol=0)


def stored_twice(model: Any, folder: Path) -> Path:
    """The model's folder with the tied output layer as a second tensor, as some programs write it."""
    model.save_pretrained(folder)
    weights = models.loaded(folder)
    models.write_model(folder, {**weights, OUTPUT: weights[TABLE].clone()})
    return folder


@pytest.mark.parametrize("method", ["average", {"name": "dare", "density": 0.5}])
@pytest.mark.parametrize(("base_twice", "model_twice"), [(False, True), (True, False), (True, True)])
def test_a_copy_stored_by_some_is_one_tensor(
    tmp_path: Path, llama: tuple[Path, Any], base_twice: bool, model_twice: bool, method: Any
) -> None:
    folder, base = llama
    tuned = [moved(copy.deepcopy(base), seed) for seed in (1, 2)]
    tuned[0].save_pretrained(tmp_path / "one")
    (stored_twice if model_twice else lambda model, place: model.save_pretrained(place))(tuned[1], tmp_path / "two")
    own_base = stored_twice(base, tmp_path / "base") if base_twice else folder
    entries = [tmp_path / "one", tmp_path / "two"]
    mg.merge(base=own_base, models=entries, method=method, output=tmp_path / "out")
    stored_once = [tmp_path / "one", tmp_path / "again"]
    tuned[1].save_pretrained(tmp_path / "again")
    wanted = [{"path": path, "name": name} for path, name in zip(stored_once, ("one", "two"), strict=True)]
    mg.merge(base=folder, models=wanted, method=method, output=tmp_path / "wanted")
    out, reference = models.loaded(tmp_path / "out"), models.loaded(tmp_path / "wanted")
    assert (OUTPUT in out) is base_twice and config_of(tmp_path / "out")["tie_word_embeddings"]
    assert torch.equal(out[TABLE], reference[TABLE])
    if base_twice:
        assert torch.equal(out[OUTPUT], out[TABLE])


def test_halves_that_differ_though_declared_one_are_refused(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    folder, base = llama
    stored_twice(base, tmp_path / "tuned")
    weights = models.loaded(tmp_path / "tuned")
    models.write_model(tmp_path / "tuned", {**weights, OUTPUT: weights[OUTPUT] + 1})
    with pytest.raises(MismatchError, match="halves of a tied table differ") as refused:
        mg.merge(base=folder, models=[tmp_path / "tuned"], method="average", output=tmp_path / "out")
    assert "tie_word_embeddings" in str(refused.value.hint) and "heads" not in str(refused.value)


def test_an_untied_fine_tune_of_a_tied_base_unties_the_output(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    folder, base = llama
    tuned = tiny("llama")
    tuned.load_state_dict({**base.state_dict()})
    moved(tuned, 4).save_pretrained(tmp_path / "tuned")
    mg.merge(base=folder, models=[tmp_path / "tuned"], method="task_arithmetic", output=tmp_path / "out")
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, tuned(tokens()).logits, atol=2e-6, rtol=0)


def test_a_tied_fine_tune_of_an_untied_base_has_two_halves(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    _, tied = llama
    base = tiny("llama")
    base.save_pretrained(tmp_path / "base")
    tied.save_pretrained(tmp_path / "tuned")
    mg.merge(base=tmp_path / "base", models=[tmp_path / "tuned"], method="task_arithmetic", output=tmp_path / "out")
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, tied(tokens()).logits, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_every_copy_that_a_state_dict_holds_is_one_tensor(tmp_path: Path, kind: str) -> None:
    base = tiny(kind)
    base.save_pretrained(tmp_path / "base")
    tuned = moved(copy.deepcopy(base), 1)
    tuned.save_pretrained(tmp_path / "tuned")
    models.write_model(tmp_path / "tuned", {name: tensor.clone() for name, tensor in tuned.state_dict().items()})
    assert len(models.loaded(tmp_path / "tuned")) > len(models.loaded(tmp_path / "base"))
    mg.merge(base=tmp_path / "base", models=[tmp_path / "tuned"], method="task_arithmetic", output=tmp_path / "out")
    assert set(models.loaded(tmp_path / "out")) == set(models.loaded(tmp_path / "base"))
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    inputs = {"input_ids": tokens()} | ({"decoder_input_ids": tokens()} if kind == "t5" else {})
    torch.testing.assert_close(merged(**inputs).logits, tuned(**inputs).logits, atol=2e-6, rtol=0)


def test_a_t5_cannot_be_untied(tmp_path: Path) -> None:
    base = tiny("t5")
    base.save_pretrained(tmp_path / "base")
    live = peft.get_peft_model(
        copy.deepcopy(base), peft.LoraConfig(r=2, target_modules=["q"], modules_to_save=["lm_head"])
    )
    moved(live, 2).save_pretrained(tmp_path / "adapter")
    with pytest.raises(MismatchError, match="cannot be untied"):
        mg.merge(base=tmp_path / "base", models=[tmp_path / "adapter"], method="average", output=tmp_path / "out")


def test_a_rule_for_a_copy_alone_is_refused(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    _, base = llama
    stored_twice(base, tmp_path / "base")
    stored_twice(moved(copy.deepcopy(base), 1), tmp_path / "tuned")
    keys = {"base": tmp_path / "base", "models": [tmp_path / "tuned"], "method": "average", "output": tmp_path / "out"}
    with pytest.raises(RecipeError, match=r"is one tensor with 'model\.embed_tokens\.weight'"):
        mg.merge(**keys, tensors=[{"match": "lm_head.*", "scale": 0.5}])
    mg.merge(**keys, tensors=[{"match": "*embed_tokens*", "scale": 0.5}])
    out = models.loaded(tmp_path / "out")
    assert torch.equal(out[OUTPUT], out[TABLE])


def test_learning_does_not_part_what_it_runs_as_one(tmp_path: Path, llama: tuple[Path, Any]) -> None:
    folder, base = llama
    adapter_of(base, tmp_path / "adapter", target_modules=["lm_head"])
    recipe = {
        "base": folder,
        "models": [tmp_path / "adapter"],
        "method": "task_arithmetic",
        "adapt": {"tasks": [{"name": "adapter", "data": str(tmp_path / "texts.txt")}]},
    }
    with pytest.raises(RecipeError, match="is untied from"):
        mg.make_plan(mg.load_recipe(recipe))


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("saved", ["factors", "whole"])
def test_every_kind_of_output_layer_is_untied_by_its_own_name(tmp_path: Path, kind: str, saved: str) -> None:
    base = tiny(kind)
    base.save_pretrained(tmp_path / "base")
    table = "wte" if kind == "gpt2" else "word_embeddings"
    settings: dict[str, Any] = {"target_modules": ["c_attn" if kind == "gpt2" else "query"]}
    settings |= {"modules_to_save": [table]} if saved == "whole" else {"target_modules": [table]}
    live = adapter_of(base, tmp_path / "adapter", **settings)
    mg.merge(base=tmp_path / "base", models=[tmp_path / "adapter"], method="task_arithmetic", output=tmp_path / "out")
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, live(tokens()).logits, atol=2e-6, rtol=0)


def test_a_model_without_an_output_layer_gets_none(tmp_path: Path) -> None:
    base = tiny("bert")
    base.bert.save_pretrained(tmp_path / "base")
    adapter_of(base.bert, tmp_path / "adapter", target_modules=["word_embeddings"])
    for config in (True, False):
        if not config:
            (tmp_path / "base" / "config.json").unlink()
        out = tmp_path / f"out-{config}"
        mg.merge(base=tmp_path / "base", models=[tmp_path / "adapter"], method="task_arithmetic", output=out)
        assert set(models.loaded(out)) == set(models.loaded(tmp_path / "base"))
