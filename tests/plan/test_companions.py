"""Tokenizers, chat templates and configurations that differ are compared by what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError, SourceError
from tests.helpers.commands import invoke
from tests.helpers.models import MODULES, random_factors, write_adapter, write_family
from tests.helpers.vocabularies import TOKENS, write_tokenizer

CONFIG = {"model_type": "llama", "rms_norm_eps": 1e-6, "rope_theta": 500000.0, "hidden_act": "silu",
          "num_attention_heads": 4, "num_key_value_heads": 2, "transformers_version": "4.50.0"}  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    given = write_family(tmp_path, adapters=1)
    for place in ("base", "task0", "task1"):
        (tmp_path / place / "config.json").write_text(json.dumps(CONFIG))
        write_tokenizer(tmp_path / place)
    return {**given, "method": "average"}


def planned(inputs: dict[str, Any], **keys: Any) -> mg.Plan:
    return mg.make_plan(mg.load_recipe({**inputs, **keys}))


def reasons(inputs: dict[str, Any], **keys: Any) -> tuple[str, ...]:
    with pytest.raises(MismatchError) as caught:
        planned(inputs, **keys)
    return caught.value.mismatches


def test_equal_folders_need_no_note(inputs: dict[str, Any]) -> None:
    assert not planned(inputs).notes


def test_tokens_in_another_order_are_refused_with_the_choices(inputs: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "task0", {**TOKENS, "b": 4, "c": 3})
    (reason,) = reasons(inputs)
    assert reason.startswith("task0: 2 tokens have other ids than in the base: 'b' (3 there, 4 here)")
    assert "`tokenizer: base` or `tokenizer: task0`, or --set tokenizer=base" in reason
    for choice, expected in (("base", TOKENS), ("task0", {**TOKENS, "b": 4, "c": 3})):
        mg.merge(mg.load_recipe({**inputs, "tokenizer": choice}), tmp_path / f"by-{choice}")
        written = json.loads((tmp_path / f"by-{choice}" / "tokenizer.json").read_text())
        assert written["model"]["vocab"] == expected
        assert json.loads((tmp_path / f"by-{choice}" / "config.json").read_text()) == CONFIG
    assert any("tokens have other ids" in note for note in planned(inputs, tokenizer="base").notes)


def test_tokens_that_only_an_adapter_has_are_refused(inputs: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "task2", {**TOKENS, "<|im_end|>": 5})
    (reason,) = reasons(inputs)
    assert reason.startswith("task2: has 1 tokens that the base lacks: '<|im_end|>' (5); choose")
    mg.merge(mg.load_recipe({**inputs, "tokenizer": "task2"}), tmp_path / "merged")
    assert "<|im_end|>" in (tmp_path / "merged" / "tokenizer.json").read_text()


def test_a_vocabulary_is_read_from_every_kind_of_file(inputs: dict[str, Any], tmp_path: Path) -> None:
    ordered = sorted(TOKENS, key=TOKENS.__getitem__)
    pieces = b"".join(
        b"\x0a" + bytes([len(piece)]) + piece
        for token in ordered
        for piece in [b"\x0a" + bytes([len(token)]) + token.encode() + b"\x15\x00\x00\x80\x3f\x18\x01"]
    )
    unigram = {"model": {"type": "Unigram", "vocab": [[token, -1.0] for token in ordered]}}
    files = {
        "vocab.txt": "\n".join(ordered).encode(),
        "vocab.json": json.dumps({"a": 2, "b": 3, "c": 4}).encode(),
        "spiece.model": pieces + b"\x12\x02\x18\x01",
        "tokenizer.json": json.dumps(unigram).encode(),
    }
    folder = tmp_path / "task0"
    for name, data in files.items():
        (folder / "tokenizer.json").unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        if name == "vocab.json":
            (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": 0, "[UNK]": 1}))
        assert not [note for note in planned(inputs).notes if "tokens" in note], name
        broken = data.replace(b"[PAD]", b"[DAP]") if name != "vocab.json" else data.replace(b"2", b"7")
        (folder / name).write_bytes(broken)
        assert any("task0: " in reason for reason in reasons(inputs)), name
        (folder / name).unlink()
        (folder / "added_tokens.json").unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"model": {"vocab": {"a": "b"}}}', b'{"model": {"vocab": 7}}'])
def test_malformed_tokenizers_are_named(inputs: dict[str, Any], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "task1" / "tokenizer.json").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        planned(inputs)
    assert caught.value.model == "task1" and str(caught.value.file).endswith("tokenizer.json")


def test_the_same_tokens_saved_by_another_version_are_the_same(inputs: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "base", merges=["a b", "b c"])
    write_tokenizer(tmp_path / "task0", merges=[["a", "b"], ["b", "c"]])
    write_tokenizer(tmp_path / "task1", merges=["b c", "a b"])
    assert planned(inputs).notes == ("task1: its tokenizer splits texts otherwise than the output's (model)",)


def test_chat_templates_are_noted_and_can_be_chosen(inputs: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "task2", template="{{ adapter }}")
    (tmp_path / "task0" / "chat_template.jinja").write_text("{{ first }}")
    notes = planned(inputs).notes
    assert "task2: its chat template is not in the base, nor in the output; `chat_template: task2` takes it, " \
        "`chat_template: base` is as now" in notes  # fmt: skip
    assert sum("chat template" in note for note in notes) == 2
    assert not any("chat template" in note for note in planned(inputs, chat_template="base").notes)
    mg.merge(mg.load_recipe({**inputs, "chat_template": "task2"}), tmp_path / "key")
    assert json.loads((tmp_path / "key" / "tokenizer_config.json").read_text())["chat_template"] == "{{ adapter }}"
    mg.merge(mg.load_recipe({**inputs, "chat_template": "task0"}), tmp_path / "file")
    assert (tmp_path / "file" / "chat_template.jinja").read_text() == "{{ first }}"
    write_tokenizer(tmp_path / "base", template="{{ base }}")
    mg.merge(mg.load_recipe({**inputs, "chat_template": "task0"}), tmp_path / "both")
    assert "chat_template" not in json.loads((tmp_path / "both" / "tokenizer_config.json").read_text())
    mg.merge(mg.load_recipe({**inputs, "tokenizer": "task2"}), tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "tokenizer_config.json").read_text())["chat_template"] == "{{ adapter }}"


def test_a_base_without_a_tokenizer_is_noted(inputs: dict[str, Any], tmp_path: Path) -> None:
    for file in (tmp_path / "base").glob("tokenizer*"):
        file.unlink()
    assert "task0: has a tokenizer, and the base none; `tokenizer: task0` takes it" in planned(inputs).notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_theta": 10000.0}, "rope_theta: 10000.0, the base's 500000.0"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"num_attention_heads": 8}, "num_attention_heads: 8, the base's 4"),
        ({"num_key_value_heads": 4}, "num_key_value_heads: 4, the base's 2"),
        ({"hidden_act": "gelu"}, "hidden_act: gelu, the base's silu"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps: 1e-05"),
        ({"model_type": "mistral"}, "model_type: mistral, the base's llama"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: relative_key, the base's absolute"),
    ],
)
def test_settings_that_change_the_forward_pass_are_refused(
    inputs: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    (tmp_path / "task1" / "config.json").write_text(json.dumps({**CONFIG, **change}))
    (reason,) = reasons(inputs)
    assert f"task1: config.json has {words}" in reason and "`config: base` or `config: task1`" in reason
    assert any(words in note for note in planned(inputs, config="base").notes)
    mg.merge(mg.load_recipe({**inputs, "config": "task1"}), tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text()) == {**CONFIG, **change}


def test_settings_of_another_version_are_the_same(inputs: dict[str, Any], tmp_path: Path) -> None:
    newer = {key: value for key, value in CONFIG.items() if key != "rope_theta"} | {
        "transformers_version": "5.1.0", "dtype": "float32",
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
        "_name_or_path": "somewhere", "attention_dropout": 0.1, "use_cache": False, "layer_types": None, "new_key": 3,
        "architectures": ["LlamaForSequenceClassification"],
    }  # fmt: skip
    (tmp_path / "task0" / "config.json").write_text(json.dumps(newer))
    assert not planned(inputs).notes
    (tmp_path / "task0" / "config.json").write_text(json.dumps({**CONFIG, "bos_token_id": 3, "x": 1}))
    assert planned(inputs).notes == ("task0: config.json also differs from the base's in bos_token_id, x",)


def labelled(folder: Path, *names: str) -> None:
    config = {**CONFIG, "id2label": {str(row): name for row, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    shapes = {"layer.weight": (4, 4), "classifier.weight": (2, 4), "classifier.bias": (2,)}
    inputs = {**write_family(tmp_path, count=2, shapes=shapes), "method": "average"}
    labelled(tmp_path / "base", "LABEL_0", "LABEL_1")
    labelled(tmp_path / "task0", "NEGATIVE", "POSITIVE")
    labelled(tmp_path / "task1", "NEGATIVE", "POSITIVE")
    assert "the base does not name its classes, task0 does: `config: task0` keeps the names" in planned(inputs).notes
    labelled(tmp_path / "task1", "POSITIVE", "NEGATIVE")
    (reason,) = reasons(inputs)
    assert reason.startswith(
        "task1: its classes are POSITIVE, NEGATIVE, in another order than task0: NEGATIVE, POSITIVE"
    )
    assert planned(inputs, config="task0").tasks
    # Heads that each model keeps are not mixed.
    assert planned(inputs, heads=["classifier.*"]).tasks


def test_a_choice_names_a_model_that_has_the_files(inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="tokenizer: no model is named 'task9', did you mean"):
        mg.load_recipe({**inputs, "tokenizer": "task9"})
    assert reasons(inputs, tokenizer="task2") == ("tokenizer: 'task2' has no tokenizer in its folder",)
    assert reasons(inputs, chat_template="task1") == ("chat_template: 'task1' has no chat template in its folder",)
    assert reasons(inputs, config="task2") == ("config: 'task2' has no config.json in its folder",)
    adapters = {"base": inputs["base"], "models": [str(tmp_path / "task2")], "method": "average"}
    with pytest.raises(RecipeError, match="the output is an adapter"):
        mg.load_recipe({**adapters, "tokenizer": "task2", "output": {"adapter": True}})


def test_notes_on_the_files_are_on_the_screen(inputs: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "base" / "config.json").write_text(json.dumps({**CONFIG, "auto_map": {"AutoModel": "x.Y"}}))
    (tmp_path / "recipe.yaml").write_text(json.dumps(inputs))
    for command in (["plan"], ["merge", "--output", str(tmp_path / "out")]):
        result = invoke(command[0], tmp_path / "recipe.yaml", *command[1:])
        assert "note: config.json: auto_map removed" in result.stdout, result


def test_an_adapter_with_the_same_tokenizer_needs_no_note(inputs: dict[str, Any], tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", random_factors(5, MODULES))
    shutil.copy(tmp_path / "base" / "tokenizer.json", tmp_path / "lora")
    assert not planned({**inputs, "models": [str(tmp_path / "lora")]}).notes
