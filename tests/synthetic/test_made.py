"""Inputs that experts make, through the command line: repeated, kept, recorded, and refused where they cannot be."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mergeometry import merge
from mergeometry.errors import DataError
from mergeometry.sink import read_record
from tests.helpers import learning_models
from tests.helpers.commands import invoke

MADE = 30
SETTINGS = {"data": {"synthetic": MADE}, "steps": 6, "check_every": 3, "batch_size": 4}


def on_made(inputs: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The recipe without its data."""
    tasks = [{key: value for key, value in task.items() if key != "data"} for task in inputs["adapt"]["tasks"]]
    adapt = {"precision": "float32", **SETTINGS, **settings, "tasks": tasks}
    return {**inputs, "seed": 5, "adapt": adapt}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"), (3, 4), 2)


def test_the_command_line_makes_keeps_and_records_them(family: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(on_made(family)))
    shown = invoke("plan", file)
    assert shown.exit_code == 0, shown.output
    assert f"{MADE} unlabelled texts" in shown.output and "to be drawn from the documentation" in shown.output
    for name, seed in (("out", 5), ("again", 5), ("other", 6)):
        run = invoke("merge", file, "--output", tmp_path / name, "--workers", "1", "--set", f"seed={seed}")
        assert run.exit_code == 0, run.output
    kept = {name: (tmp_path / name / "adapt" / "inputs.jsonl").read_bytes() for name in ("out", "again", "other")}
    assert kept["out"] == kept["again"] != kept["other"]
    assert read_record(tmp_path / "out").digest == read_record(tmp_path / "again").digest
    lines = [json.loads(line) for line in kept["out"].decode().splitlines()]
    assert Counter(line["task"] for line in lines) == {"task0": MADE, "task1": MADE}
    learned = read_record(tmp_path / "out").adapt
    assert learned is not None and learned["objective"] == "logits" and set(learned["agreement"]) == {"task0", "task1"}
    for data, classes in zip(learned["data"], (3, 4), strict=True):
        made = data["synthetic"]
        assert data["items"] == MADE and made["kind"] == "sentences"
        assert len(made["classes"]) == classes and sum(made["classes"]) == MADE and 1 / classes < made["sure"] <= 1


def test_the_texts_kept_are_those_learned_from(family: dict[str, Any], tmp_path: Path) -> None:
    """Read as data, they are learned from to the same bytes."""
    merge(on_made(family), tmp_path / "out", workers=1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "adapt" / "inputs.jsonl").read_text().splitlines()]
    read = on_made(family, objective="logits")
    del read["adapt"]["data"]
    for task in read["adapt"]["tasks"]:
        texts = [line["text"] for line in lines if line["task"] == task["name"]]
        task["data"] = str(learning_models.save_texts(tmp_path / f"{task['name']}.jsonl", texts))
    merge(read, tmp_path / "read", workers=1)
    first, second = (tmp_path / name / "adapt" / "coefficients.safetensors" for name in ("out", "read"))
    assert first.read_bytes() == second.read_bytes()


def test_an_expert_that_is_never_sure_is_warned_of(family: dict[str, Any], tmp_path: Path) -> None:
    import safetensors.torch

    recipe = on_made(family)
    safetensors.torch.save_file({"weight": torch.ones(3, 16) / 1e3}, tmp_path / "unsure.safetensors")
    recipe["adapt"]["tasks"][0]["head"] = str(tmp_path / "unsure.safetensors")
    warnings = "\n".join(merge(recipe, tmp_path / "out", workers=1).warnings)
    assert "task0: the expert is sure of none of the inputs made" in warnings
    assert "task0: 2 of 3 classes are predicted for none" in warnings


def test_what_cannot_be_made_is_refused(family: dict[str, Any], tmp_path: Path) -> None:
    headless = on_made(family)
    del headless["adapt"]["tasks"][1]["head"]
    with pytest.raises(DataError, match=r"without a head nothing tells(.|\n)*task1(.|\n)*or data"):
        merge(headless, tmp_path / "out", workers=1)
    pairs = on_made(family, encoder={"kind": "seq2seq"})
    with pytest.raises(DataError, match=r"no texts for an encoder-decoder can be made(.|\n)*task0"):
        merge(pairs, tmp_path / "out", workers=1)
    (tmp_path / "recipe.yaml").write_text(json.dumps(pairs))
    assert "no texts for an encoder-decoder can be made" in invoke("plan", tmp_path / "recipe.yaml").output
    for adapt, told in (
        ({"data": "texts.jsonl"}, "`data` for all tasks can only be `synthetic`"),
        ({"data": {"synthetic": 4, "limit": 2}}, "`limit` has no meaning"),
        ({"data": {"synthetic": 0}}, "greater than or equal to 1"),
    ):
        (tmp_path / "recipe.yaml").write_text(json.dumps(on_made(family, **adapt)))
        shown = invoke("plan", tmp_path / "recipe.yaml")
        assert shown.exit_code == 1 and told in " ".join(shown.output.split()), shown.output
    assert not (tmp_path / "out").exists()


def test_a_language_model_writes_its_own(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    learning_models.save_base(model, tmp_path / "base")
    for number in range(2):
        learning_models.save_tuned(model, tmp_path / f"expert{number}", number)
    recipe = {
        "base": str(tmp_path / "base"),
        "models": [str(tmp_path / f"expert{number}") for number in range(2)],
        "adapt": {**SETTINGS, "data": {"synthetic": 5}, "precision": "float32", "encoder": {"max_length": 12}},
    }
    runs = [merge(recipe, tmp_path / name, workers=1) for name in ("out", "again")]
    assert runs[0].digest == runs[1].digest and runs[0].adapt is not None
    lines = [json.loads(line) for line in (tmp_path / "out" / "adapt" / "inputs.jsonl").read_text().splitlines()]
    texts = {name: [line["text"] for line in lines if line["task"] == name] for name in ("expert0", "expert1")}
    assert all(len(own) == 5 and all(own) for own in texts.values()) and texts["expert0"] != texts["expert1"]
    assert runs[0].adapt["objective"] == "distill" and runs[0].adapt["data"][0]["synthetic"]["kind"] == "written"
