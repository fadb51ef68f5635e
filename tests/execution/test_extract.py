"""An adapter that is taken out of a fine-tune is loaded by PEFT and computes what the fine-tune computes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import RecipeError
from tests.helpers.commands import invoke
from tests.helpers.peft_models import IDS, live, outputs, tiny_llama
from tests.helpers.tiny import moved, tiny, tokens

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")

PREFIX = "base_model.model."


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A tied base and a fine-tune of its linear layers and of three rows of its table, each in its folder."""
    place = tmp_path_factory.mktemp("pair")
    base = tiny_llama(tie_word_embeddings=True)
    tuned = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "_proj" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        tuned.model.embed_tokens.weight[[3, 4, 9]] += 0.3
    base.save_pretrained(place / "base")
    tuned.save_pretrained(place / "tuned")
    return place, base, tuned


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())


def differences(base: Any, tuned: Any) -> dict[str, torch.Tensor]:
    before = base.state_dict()
    return {name: value.double() - before[name].double() for name, value in tuned.state_dict().items()}


def test_at_full_rank_nothing_is_lost_and_nothing_else_is_written(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    place, base, tuned = pair
    record = mg.extract(place / "base", place / "tuned", tmp_path / "out", rank=16, workers=1)
    config = settings(tmp_path / "out")
    assert config["trainable_token_indices"] == {"model.embed_tokens": [3, 4, 9]}
    assert (config["modules_to_save"], config["task_type"]) == (None, "CAUSAL_LM")
    assert any("vLLM does not take it: rows of tokens are saved" in note for note in record.sidecars.notes)
    assert record.adapter is not None and record.adapter["energy_kept"] == pytest.approx(1)
    assert "model.norm.weight" in record.adapter["unchanged"] and not record.adapter["left_out"]
    torch.testing.assert_close(outputs(live(base, tmp_path / "out")), outputs(tuned), rtol=1e-4, atol=1e-5)
    # Back into the base it is the fine-tune: with both halves of its table, which are one tensor.
    mg.merge(base=place / "base", models=[tmp_path / "out"], method="task_arithmetic", output=tmp_path / "back")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    torch.testing.assert_close(outputs(again), outputs(tuned), rtol=1e-4, atol=1e-5)


def test_a_rank_keeps_the_leading_directions_and_the_record_says_how_much(
    pair: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    place, base, tuned = pair
    record = mg.extract(place / "base", place / "tuned", tmp_path / "out", rank=0.25, workers=1)
    factors, wanted, kept, whole = stored(tmp_path / "out"), differences(base, tuned), 0.0, 0.0
    assert record.adapter is not None
    for module in record.adapter["modules"]:
        name, rank = module["module"], module["rank"]
        left, values, right = torch.linalg.svd(wanted[f"{name}.weight"], full_matrices=False)
        best = left[:, :rank] * values[:rank] @ right[:rank]
        product = factors[f"{PREFIX}{name}.lora_B.weight"] @ factors[f"{PREFIX}{name}.lora_A.weight"]
        torch.testing.assert_close(product.double(), best, rtol=1e-5, atol=1e-6)
        squares = values.square()
        assert module["energy_kept"] == pytest.approx(float(squares[:rank].sum() / squares.sum()), abs=1e-6)
        assert (rank, module["full_rank"]) == (4, 16)
        kept, whole = kept + float(squares[:rank].sum()), whole + float(squares.sum())
    rows = float(wanted["model.embed_tokens.weight"].square().sum())
    assert record.adapter["energy_kept_in_factors"] == pytest.approx(kept / whole, abs=1e-6)
    assert record.adapter["energy_kept"] == pytest.approx((kept + rows) / (whole + rows), abs=1e-6)


def test_auto_takes_the_fewest_directions_that_keep_the_energy(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    place, base, tuned = pair
    recipe = {
        "base": place / "base", "models": [place / "tuned"], "method": "task_arithmetic",
        "output": {"adapter": {"rank": "auto", "energy": 0.9, "other": "changed"}},
    }  # fmt: skip
    one = mg.merge(recipe, tmp_path / "one", workers=1)
    two = mg.extract(place / "base", place / "tuned", tmp_path / "two", rank="auto", energy=0.9, workers=1)
    assert one.digest == two.digest
    wanted, factors = differences(base, tuned), stored(tmp_path / "one")
    assert one.adapter is not None
    for module in one.adapter["modules"]:
        squares = torch.linalg.svdvals(wanted[f"{module['module']}.weight"]).square()
        shares = squares.cumsum(0) / squares.sum()
        assert module["rank"] == int((shares < 0.9).sum()) + 1
    ranks = {module["rank"] for module in one.adapter["modules"]}
    assert len(ranks) > 1 and settings(tmp_path / "one")["r"] == max(ranks)
    by_hand = copy.deepcopy(base)
    with torch.no_grad():
        by_hand.model.embed_tokens.weight.copy_(tuned.model.embed_tokens.weight)
        for name, module in by_hand.named_modules():
            if (up := factors.get(f"{PREFIX}{name}.lora_B.weight")) is not None:
                module.weight.add_(up @ factors[f"{PREFIX}{name}.lora_A.weight"])
    torch.testing.assert_close(outputs(live(base, tmp_path / "one")), outputs(by_hand), rtol=1e-4, atol=1e-5)


def test_what_is_left_out_is_said_with_its_share(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    place, base, tuned = pair
    record = mg.extract(
        place / "base", place / "tuned", tmp_path / "out", rank=16, other="none", exclude=["*.mlp.*"], workers=1
    )
    squares = {name: float(value.square().sum()) for name, value in differences(base, tuned).items()}
    total = sum(value for name, value in squares.items() if name != "lm_head.weight")
    lost = sum(value for name, value in squares.items() if ".mlp." in name or "embed" in name)
    assert record.adapter is not None
    assert sum(record.adapter["left_out"].values()) == pytest.approx(lost / total, abs=1e-6)
    (note,) = [text for text in record.warnings if "leaves out 7 tensors" in text]
    assert "vLLM takes it with --enable-lora --max-lora-rank 16" in record.sidecars.notes
    assert f"{100 * lost / total:.3g} %" in note and "embed_tokens" in note
    assert set(settings(tmp_path / "out")["target_modules"]) == {
        f"model.layers.{layer}.self_attn.{kind}_proj" for layer in (0, 1) for kind in "qkvo"
    }
    with pytest.raises(RecipeError, match=r"output.adapter.include: '\*.query' matches no tensor"):
        mg.extract(place / "base", place / "tuned", tmp_path / "no", rank=2, include=["*.query"])


def test_the_command_shows_a_table_and_a_dry_run_writes_nothing(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    place, _, _ = pair
    words = ("extract", "--base", place / "base", "--model", place / "tuned")
    dry = invoke(*words, "--rank", "4", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    wet = invoke(*words, "--rank", "4", "--output", tmp_path / "out")
    assert wet.exit_code == 0, wet.output
    record = json.loads((tmp_path / "out" / "mergeometry.json").read_text())
    told = json.loads(dry.stdout)["adapter"]["modules"]
    for one, other in zip(told, record["adapter"]["modules"], strict=True):
        assert one["energy_kept"] == pytest.approx(other["energy_kept"], abs=1e-6)
        assert f"{other['energy_kept']:.4f}" in wet.stdout and other["module"] in wet.stdout
    assert "3 rows of model.embed_tokens.weight" in wet.stdout
    assert "% of the squared norm of the update is kept" in wet.stdout
    missing = invoke(*words, "--rank", "4")
    assert missing.exit_code == 2 and "--output says where to write" in missing.output
    wrong = invoke(*words, "--rank", "many", "--output", tmp_path / "no")
    assert wrong.exit_code == 1 and "a rank is a whole number from 1 on" in wrong.output


def test_a_head_that_only_the_fine_tune_has_is_written_whole(tmp_path: Path) -> None:
    encoder = tiny("bert").bert
    encoder.save_pretrained(tmp_path / "base")
    load = transformers.BertForSequenceClassification.from_pretrained
    tuned = moved(load(tmp_path / "base", num_labels=3), 2).eval()
    tuned.save_pretrained(tmp_path / "tuned")
    record = mg.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=32, workers=1)
    config = settings(tmp_path / "out")
    assert config["task_type"] == "SEQ_CLS" and {"classifier", "bert.pooler.dense"} <= set(config["modules_to_save"])
    assert any("classifier, which the base does not have, is written whole" in note for note in record.warnings)
    loaded = live(load(tmp_path / "base", num_labels=3), tmp_path / "out")
    torch.testing.assert_close(outputs(loaded, IDS), outputs(tuned, IDS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_grown_vocabulary_is_written_whole(tied: bool, tmp_path: Path) -> None:
    base = tiny_llama(tie_word_embeddings=tied)
    base.save_pretrained(tmp_path / "base")
    tuned = copy.deepcopy(base)
    tuned.resize_token_embeddings(33)
    moved(tuned, 3).save_pretrained(tmp_path / "tuned")
    record = mg.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=16, workers=1)
    assert any("resize_token_embeddings(33)" in note for note in record.warnings)
    base.resize_token_embeddings(33)
    torch.testing.assert_close(outputs(live(base, tmp_path / "out")), outputs(tuned), rtol=1e-4, atol=1e-5)


def test_from_one_fine_tune_to_another_of_a_conv1d_model(tmp_path: Path) -> None:
    first, second = (moved(tiny("gpt2"), seed) for seed in (1, 2))
    first.save_pretrained(tmp_path / "first")
    second.save_pretrained(tmp_path / "second")
    mg.extract(tmp_path / "first", tmp_path / "second", tmp_path / "out", rank="auto", energy=1.0, workers=1)
    assert settings(tmp_path / "out")["fan_in_fan_out"]
    loaded = live(first, tmp_path / "out")
    torch.testing.assert_close(outputs(loaded, tokens()), outputs(second, tokens()), rtol=1e-4, atol=1e-4)


def test_a_whole_table_of_a_tied_model_is_written_for_both_halves(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    """PEFT replaces the one module that it is told: an output layer that was tied would keep the base's table."""
    place, base, tuned = pair
    recipe = {"base": place / "base", "models": [place / "tuned"], "method": "average"}
    mg.merge({**recipe, "output": {"adapter": {"rank": 16}}}, tmp_path / "out", workers=1)
    assert {"lm_head", "model.embed_tokens"} <= set(settings(tmp_path / "out")["modules_to_save"])
    torch.testing.assert_close(outputs(live(base, tmp_path / "out")), outputs(tuned), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        ({"rank": 0}, "output.adapter.rank: a rank is a whole number from 1 on"),
        ({"rank": 1.5}, "a share of the full rank between 0 and 1, or auto"),
        ({"rank": 4, "energy": 0.9}, "energy: it decides the ranks that `rank: auto` gives"),
        ({"rank": 4, "others": "none"}, "unknown key 'output.adapter.others'"),
    ],
)
def test_ranks_that_mean_nothing(adapter: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError) as refused:
        mg.load_recipe({"base": "b", "models": ["m"], "method": "average", "output": {"adapter": adapter}})
    assert text in str(refused.value)


def test_an_interrupted_extraction_is_resumed_to_the_same_bytes(pair: tuple[Path, Any, Any], tmp_path: Path) -> None:
    place, _, _ = pair
    given: dict[str, Any] = {"rank": "auto", "energy": 0.8, "workers": 1}
    whole = mg.extract(place / "base", place / "tuned", tmp_path / "whole", **given)
    finished: list[str] = []

    def stop(task: Any) -> None:
        finished.append(task.name)
        if len(finished) == 5:
            raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="the power is gone"):
        mg.extract(place / "base", place / "tuned", tmp_path / "out", progress=stop, **given)
    again = mg.extract(place / "base", place / "tuned", tmp_path / "out", resume=True, **given)
    assert (again.digest, again.adapter) == (whole.digest, whole.adapter)
