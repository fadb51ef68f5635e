"""An adapter that a merge writes is loaded by PEFT as the inputs are, and computes what the folded merge computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError
from tests.helpers import models
from tests.helpers.peft_models import IDS, live, merged, outputs, saved_adapter, tiny_llama

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")


def lora(*targets: str, **changes: Any) -> Any:
    return peft.LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": list(targets), **changes})


def written(base: Path, inputs: list[Path], place: Path, /, **keys: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Merge to an adapter; its settings, and the warnings of the run."""
    recipe = {"base": str(base), "models": [str(each) for each in inputs], "method": "average", **keys}
    run = mg.merge({"output": {"adapter": True}, **recipe}, place, workers=1)
    return json.loads((place / "adapter_config.json").read_text()), run.warnings


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_task_the_largest_rank_and_saved_modules_are_kept(tmp_path: Path) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path / "base")
    shared = {"task_type": "CAUSAL_LM", "modules_to_save": ["lm_head"]}
    adapters = [
        saved_adapter(model, tmp_path / "a", lora("q_proj", "embed_tokens", **shared), 1),
        saved_adapter(model, tmp_path / "b", lora("q_proj", "v_proj", r=3, **shared), 2),
    ]
    config, _ = written(tmp_path / "base", adapters, tmp_path / "out")
    ranks = {value.shape[0] for name, value in stored(tmp_path / "out").items() if name.endswith("A.weight")}
    assert ranks == {3, 5}
    assert (config["r"], config["task_type"], config["modules_to_save"]) == (5, "CAUSAL_LM", ["lm_head"])
    folded = merged(tmp_path / "base", adapters, tmp_path / "folded")
    config["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "out" / "adapter_config.json").write_text(json.dumps(config))
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    same(outputs(loaded, IDS), outputs(folded))
    again = merged(tmp_path / "base", [tmp_path / "out"], tmp_path / "again")
    same(outputs(again), outputs(folded))


@pytest.mark.parametrize("targets", [("query", "dense"), ("query", "dense", "word_embeddings")])
def test_biases_formed_updates_and_tables_are_written_too(targets: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models.tiny_bert()
    model.save_pretrained(tmp_path / "base")
    dora = lora(*targets, bias="all", use_dora=True)
    adapters = [
        saved_adapter(model, tmp_path / "a", dora, 1),
        saved_adapter(model, tmp_path / "b", lora("key", "word_embeddings"), 2),
    ]
    folded = merged(tmp_path / "base", adapters, tmp_path / "folded", method="ties")
    with pytest.raises(MismatchError, match=r"update by DoRA is not low-rank; output: \{adapter: \{rank: 16\}\}"):
        written(tmp_path / "base", adapters, tmp_path / "out")
    # As large as the smaller side of every matrix, so that nothing is lost.
    given = {"method": "ties", "output": {"adapter": {"rank": 16}}}
    config, warnings = written(tmp_path / "base", adapters, tmp_path / "out", **given)
    assert config["bias"] == "all" and not any("truncated" in warning for warning in warnings)
    same(outputs(live(model, tmp_path / "out")), outputs(folded))
    _, warnings = written(
        tmp_path / "base", adapters, tmp_path / "thin", **{**given, "output": {"adapter": {"rank": 1}}}
    )
    (note,) = [warning for warning in warnings if "truncated" in warning]
    thin, whole = stored(tmp_path / "thin"), folded.state_dict()
    name = "encoder.layer.0.attention.self.query"
    base = model.state_dict()[f"{name}.weight"]
    left, values, right = torch.linalg.svd(whole[f"{name}.weight"] - base)
    best = values[0] * left[:, :1] @ right[:1]
    same(thin[f"base_model.model.{name}.lora_B.weight"] @ thin[f"base_model.model.{name}.lora_A.weight"], best)
    record = json.loads((tmp_path / "thin" / "mergeometry.json").read_text())
    said = next(tensor for tensor in record["tensors"] if tensor["name"].endswith(f"{name}.lora_A.weight"))["notes"]
    share = float(values[0] ** 2 / values.square().sum())
    assert float(said[0].rpartition(" ")[2]) == pytest.approx(share, abs=1e-5)
    assert f"{min(shares(record)):.3f}" in note


@pytest.mark.parametrize("make", [tiny_llama, models.tiny_bert])
def test_full_fine_tunes_become_an_adapter_of_a_given_rank(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make()
    model.save_pretrained(tmp_path / "base")
    tuned = []
    for seed in (1, 2):
        state = models.tuned(model.state_dict(), seed)
        other = make()
        other.load_state_dict(state)
        other.save_pretrained(tmp_path / f"t{seed}")
        tuned.append(tmp_path / f"t{seed}")
    folded = merged(tmp_path / "base", tuned, tmp_path / "folded", method="task_arithmetic", scale=0.5)
    given = {"method": "task_arithmetic", "scale": 0.5, "output": {"adapter": {"rank": 16}}}
    config, _ = written(tmp_path / "base", tuned, tmp_path / "out", **given)
    assert config["modules_to_save"] and (config["bias"] == "all") == (make is not tiny_llama)
    same(outputs(live(model, tmp_path / "out")), outputs(folded))


def test_a_head_in_the_base_keeps_the_task_and_another_loses_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models.tiny_bert("BertForSequenceClassification", num_labels=3)
    model.save_pretrained(tmp_path / "base")
    model.bert.save_pretrained(tmp_path / "bare")
    adapters = [
        saved_adapter(model, tmp_path / f"a{seed}", lora("query", task_type="SEQ_CLS"), seed) for seed in (1, 2)
    ]
    config, _ = written(tmp_path / "base", adapters, tmp_path / "out")
    assert config["task_type"] == "SEQ_CLS"
    loaded = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    same(outputs(loaded, IDS), outputs(merged(tmp_path / "base", adapters, tmp_path / "folded")))
    config, _ = written(tmp_path / "bare", adapters, tmp_path / "bare-out", heads=["classifier.*"])
    assert config["task_type"] is None
    record = json.loads((tmp_path / "bare-out" / "mergeometry.json").read_text())
    assert any("task_type SEQ_CLS of an input is not kept" in note for note in record["sidecars"]["notes"])


def test_a_module_that_peft_would_save_whole_is_not_adapted_too(tmp_path: Path) -> None:
    models.write_model(tmp_path / "base", {"head.weight": torch.zeros(4, 3), "layer.head.weight": torch.zeros(4, 3)})
    models.write_adapter(tmp_path / "a", {}, saved={"head.weight": torch.ones(4, 3)})
    models.write_adapter(tmp_path / "b", models.random_factors(0, {"layer.head": (4, 3)}))
    # PEFT goes by the ends of names: told `head`, it saves `layer.head` whole as well.
    with pytest.raises(MismatchError, match=r"its module 'layer.head' is changed as a whole and by factors"):
        written(tmp_path / "base", [tmp_path / "a", tmp_path / "b"], tmp_path / "out")


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def shares(record: dict[str, Any]) -> list[float]:
    notes = [note for tensor in record["tensors"] for note in tensor["notes"]]
    return [float(note.rpartition(" ")[2]) for note in notes if note.startswith("truncated")]
