"""A model with an adapter in it, `model+adapter`, merges as the model that PEFT folds the adapter into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, SourceError
from tests.helpers import models
from tests.helpers.peft_models import folded, live, outputs, saved_adapter, tiny_llama
from tests.helpers.tiny import moved, tiny

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")


def lora(*targets: str, **changes: Any) -> Any:
    return peft.LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": list(targets), **changes})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a fine-tune of it, and adapters of the fine-tune."""
    folder = tmp_path_factory.mktemp("llama")
    base = tiny_llama()
    base.save_pretrained(folder / "base")
    tuned = moved(base, 3)
    tuned.save_pretrained(folder / "tuned")
    saved_adapter(tuned, folder / "lora", lora("q_proj", "down_proj", "embed_tokens"))
    saved_adapter(tuned, folder / "dora", lora("q_proj", use_dora=True, modules_to_save=["lm_head"]))
    for name in ("lora", "dora"):
        models.write_model(folder / f"folded-{name}", folded(tuned, folder / name), base.config.to_dict())
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("adapter", "method"),
    [("lora", "ties"), pytest.param("lora", "tsv_m", marks=pytest.mark.suite), ("dora", "average")],
)
def test_a_model_with_an_adapter_is_the_folded_model(llama: Path, tmp_path: Path, adapter: str, method: str) -> None:
    entry = f"{llama / 'tuned'}+{llama / adapter}"
    record = mg.merge(base=llama / "base", models=[entry], method=method, output=tmp_path / "lazy", workers=1)
    mg.merge(base=llama / "base", models=[llama / f"folded-{adapter}"], method=method, output=tmp_path / "f", workers=1)
    lazy, expected = weights(tmp_path / "lazy"), weights(tmp_path / "f")
    assert lazy.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(lazy[name], tensor, rtol=1e-5, atol=2e-6)
    assert record.inputs[1].path == entry and record.inputs[1].label == f"tuned+{adapter}"


def test_the_same_as_a_mapping_as_base_and_in_a_recipe_file(llama: Path, tmp_path: Path) -> None:
    entry = {"path": "tuned", "adapter": "lora", "name": "both"}
    (llama / "recipe.yaml").write_text(f"base: tuned+lora\nmodels: [{entry}, folded-lora]\nmethod: average\n")
    record = mg.merge(llama / "recipe.yaml", tmp_path / "out", workers=1)
    expected = weights(llama / "folded-lora")
    for name, tensor in weights(tmp_path / "out").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=2e-6)
    assert [source.label for source in record.inputs] == ["base", "both", "folded-lora"]


def test_another_adapter_is_another_fingerprint(llama: Path) -> None:
    from mergeometry.execution.identity import fingerprint

    prints = {
        fingerprint(mg.make_plan(base=llama / "base", models=[f"{llama / 'tuned'}+{llama / one}"], method="average"))
        for one in ("lora", "dora")
    }
    assert len(prints) == 2


def test_a_path_with_a_plus_in_its_name_wins(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one+two").symlink_to(llama / "tuned")
    plan = mg.make_plan(base=llama / "base", models=["one+two"], method="average")
    assert plan.models[0].path == tmp_path / "one+two"


def test_halves_that_are_not_what_they_should_be(llama: Path) -> None:
    for entry, says in (
        (f"{llama / 'tuned'}+{llama / 'base'}", "what follows the . is no adapter"),
        (f"{llama / 'lora'}+{llama / 'lora'}", "what precedes the . is an adapter itself"),
    ):
        with pytest.raises(SourceError, match=says):
            mg.make_plan(base=llama / "base", models=[entry], method="average")


def test_an_adapter_of_another_model_is_named(llama: Path, tmp_path: Path) -> None:
    other = tiny_llama(hidden_size=32)
    saved_adapter(other, tmp_path / "other", lora("q_proj"))
    with pytest.raises(MismatchError, match=r"tuned.other: the adapter does not fit its model"):
        mg.make_plan(base=llama / "base", models=[f"{llama / 'tuned'}+{tmp_path / 'other'}"], method="average")


@pytest.mark.suite
def test_transposed_layers_and_tied_tables(tmp_path: Path) -> None:
    for kind, targets in (("gpt2", ("c_attn", "wte")), ("llama-tied", ("embed_tokens", "v_proj"))):
        base = tiny(kind)
        base.save_pretrained(tmp_path / kind / "base")
        saved_adapter(base, tmp_path / kind / "lora", lora(*targets, fan_in_fan_out=kind == "gpt2"))
        entry = f"{tmp_path / kind / 'base'}+{tmp_path / kind / 'lora'}"
        mg.merge(base=entry, models=[entry], method="average", output=tmp_path / kind / "out", workers=1)
        import transformers

        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / kind / "out").eval()
        expected = outputs(live(base, tmp_path / kind / "lora"))
        torch.testing.assert_close(outputs(loaded), expected, rtol=1e-4, atol=1e-4)
