"""The run record goes round, and the model card cannot be broken out of."""

import importlib
import json

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from mergeometry.errors import SourceError, printable
from mergeometry.hub_names import folder_name
from mergeometry.sink import (
    CopiedFile,
    InputRecord,
    LeftOut,
    MethodRecord,
    RunRecord,
    SidecarRecord,
    TensorRecord,
    Totals,
    model_card,
    read_record,
    versions,
)
from mergeometry.sink.record import encode_record

HOSTILE = [
    "```\n# owned", "---\nlicense: mit", "a | b", "line\nbreak\r\n", "<script>alert(1)</script>", "[x](http://evil)",
    "![x](http://evil)", "``` ` `` ````` ", "{{ 7 * 7 }}{% raw %}", "\u202eevil", "# title", '"quoted": yes', "\\|x",

    "- item", "1. item", "+ x", "    code", "2) x", "===", "no", "1e3", "*bold*", "&lt;b&gt;",
    "www.evil.example", "]: y", "\x00\x85\u2028", "'", "%s", ": #",
]  # fmt: skip


def record(name="plain", **changes):
    fields = {
        "recipe": {
            "base": name,
            "models": [name, {"path": name, "weight": 0.5}],
            "method": {"name": name},
            name: [],
            "seed": 0,
        },
        "fingerprint": name,
        "digest": "ab" * 32,
        "versions": {"torch": "2.13", name: name},
        "inputs": (InputRecord(name, "base", name, "model", name), InputRecord("second", "model", "a/b", name, "00")),
        "methods": (MethodRecord(name, {name: name, "rank": 4}, name, 3),),
        "tensors": (
            TensorRecord(name, name, None, 0.1, "F32", (2, 3), name, (name,)),
            TensorRecord("b", "ties", 1.0, 0.0, "F32", (), "00"),
        ),
        "totals": Totals(1.5, 10, 20, 30),
        "sidecars": SidecarRecord((CopiedFile(name, "00", (name,)),), (LeftOut(name, name),), (name,)),
        "warnings": (name,),
        "parameters": {"method": 3, "other": 1, "copied": 0},
    }
    return RunRecord(**{**fields, **changes})


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_record_goes_round(tmp_path, name):
    run = record(name)
    (tmp_path / "mergeometry.json").write_bytes(encode_record(run))
    again = read_record(tmp_path)
    assert again == run and encode_record(again) == encode_record(run)
    assert next(iter(json.loads(encode_record(run)))) == "schema"


def test_damaged_records_are_refused(tmp_path):
    whole = record().to_json()
    path = tmp_path / "mergeometry.json"
    with pytest.raises(SourceError, match="cannot be read"):
        read_record(tmp_path)
    for content in ("{", "[]", "[" * 100_000, "{}", json.dumps({**whole, "schema": 3}), "\xff"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(SourceError):
            read_record(tmp_path)
    for key in whole:
        for wrong in ({name: value for name, value in whole.items() if name != key}, {**whole, key: None}):
            with pytest.raises(SourceError):
                RunRecord.from_json(wrong)
    for field, wrong in {"scale": "x", "seconds": True, "shape": [1.5], "name": 1, "notes": "x"}.items():
        with pytest.raises(SourceError, match=field):
            TensorRecord.from_json({**json.loads(json.dumps(whole))["tensors"][0], field: wrong})
    for field in ("seconds", "peak_memory"):  # a whole number in JSON may be longer than any count
        with pytest.raises(SourceError, match=field):
            Totals.from_json({**whole["totals"], field: 10**400})
    with pytest.raises(SourceError, match="shape"):
        TensorRecord.from_json({**json.loads(json.dumps(whole))["tensors"][0], "shape": [1 << 63]})


def test_versions_name_what_a_result_depends_on():
    assert {"mergeometry", "torch", "numpy", "scipy", "python", "platform"} == set(versions())


def parts(card):
    """Split a card by the rules of its readers: front matter, then Markdown."""
    assert card.startswith("---\n")
    front, _, body = card[4:].partition("\n---\n")
    return YAML(typ="safe").load(front), body


def tokens(body):
    """The structure of a Markdown text, and all text in it, as a reader of the page gets them."""
    structure, texts = [], []
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body):
        structure.append((block.type, block.attrs.get("href")))
        if block.type == "fence":
            texts.append(block.content)
        merged = ""
        for child in block.children or ():
            if child.type in ("text", "text_special"):
                merged += child.content
            else:
                structure.append((child.type, child.attrs.get("href")))
        texts.append(merged)
    return structure, texts


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_card_keeps_every_name_in_its_place(name):
    front, body = parts(model_card(record(name), title=name, library="transformers"))
    assert front == {
        "base_model": [folder_name(name) or name, "a/b"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "mergeometry"],
    }
    structure, texts = tokens(body)
    plain_structure, plain_texts = tokens(parts(model_card(record(), title="plain", library="transformers"))[1])
    assert structure == plain_structure
    recipe = next(text for text in texts if text.startswith('base: "'))
    shown = json.loads(encode_record(record(name)))["recipe"]
    assert YAML(typ="safe").load(recipe) == replaced(shown, name, folder_name(name) or name)
    spelt = [printable(name), printable(folder_name(name) or name)]  # a path is shown by its last part
    for text, plain in zip(texts, plain_texts, strict=True):
        assert text == recipe or text.split() in [plain.replace("plain", each).split() for each in spelt]
    assert all(character.isprintable() or character == "\n" for character in body)


def replaced(value, old, new):
    """The same JSON value with a text replaced, but for the keys of mappings."""
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    return new if value == old else value


def test_card_shows_no_path_of_this_machine():
    cached = "/home/me/.cache/huggingface/hub/models--org--tuned.v2/snapshots/0a1b2c"
    recipe = {
        "base": "/home/me/minilm",
        "models": [{"path": cached, "name": "tuned.v2"}, {"path": "/home/me/other", "name": "second"}],
        "adapt": {"tasks": [{"name": "second", "data": "/home/me/texts.jsonl"}]},
        "tensors": [{"match": "*.bias"}],
    }
    inputs = (
        InputRecord("base", "base", "/home/me/minilm", "model", "00"),
        InputRecord("tuned.v2", "model", cached, "model", "00"),
        InputRecord("second", "model", "/home/me/other", "model", "00"),
    )
    run = record(recipe=recipe, inputs=inputs)
    front, body = parts(model_card(run))
    assert front["base_model"] == ["minilm", "org/tuned.v2", "second"]
    assert "/home/me" not in body and 'data: "texts.jsonl"' in body and 'path: "org/tuned.v2"' in body
    assert parts(model_card(run, names={"base": "org/minilm"}))[0]["base_model"][0] == "org/minilm"


@pytest.mark.parametrize(
    ("library", "architecture", "name"),
    [
        ("transformers", "GPT2LMHeadModel", "AutoModelForCausalLM"),
        ("transformers", "LlamaForCausalLM", "AutoModelForCausalLM"),
        ("transformers", "T5ForConditionalGeneration", "AutoModelForSeq2SeqLM"),
        ("transformers", "WhisperForConditionalGeneration", "AutoModelForSpeechSeq2Seq"),
        ("transformers", "LlavaForConditionalGeneration", "AutoModelForImageTextToText"),
        ("transformers", "BertForSequenceClassification", "AutoModelForSequenceClassification"),
        ("transformers", "ViTForImageClassification", "AutoModelForImageClassification"),
        ("transformers", "BertModel", "AutoModel"),
        ("transformers", "", "AutoModel"),
        ("peft", "LlamaForCausalLM", "AutoPeftModelForCausalLM"),
        ("peft", "ViTForImageClassification", "AutoPeftModel"),
    ],
)
def test_card_shows_the_class_that_loads_the_base(library, architecture, name):
    card = model_card(record(), library=library, architecture=architecture)
    assert f"from {library} import {name}\n\nmodel = {name}.from_pretrained(" in card
    found = getattr(importlib.import_module(library), name)
    if library == "transformers" and architecture:
        assert architecture in {
            known for known in found._model_mapping._model_mapping.values() if isinstance(known, str)
        }


def test_card_names_no_local_path_as_base():
    run = record(inputs=(InputRecord("minilm", "base", "/home/me/models/minilm", "model", "00"),))
    assert parts(model_card(run))[0]["base_model"] == ["minilm"]
    assert model_card(run) == model_card(run.to_json())
    assert "How to load" not in model_card(run)
    for library in ("peft", "sentence-transformers"):
        assert "import" in model_card(run, library=library)
