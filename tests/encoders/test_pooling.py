"""The feature that a classifier's head takes is found where the recipe does not say: scores of another are noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from mergeometry.encoders.heads import read_head
from mergeometry.encoders.pooling import pooling_notes, with_pooling
from mergeometry.recipe.inputs import EncoderOptions, HeadSource
from mergeometry.sources import open_checkpoint, read_header
from tests.helpers.tiny import moved, tiny, tokens

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare BERT, and a classifier that was tuned from it."""
    place, base = tmp_path_factory.mktemp("pooling"), tiny("bert")
    bare = transformers.BertModel(base.config).eval()
    bare.save_pretrained(place / "base")
    tuned = transformers.BertForSequenceClassification(base.config).eval()
    tuned.bert.load_state_dict(bare.state_dict())
    moved(tuned, 1).save_pretrained(place / "tuned")
    return place


def test_a_classifier_of_pooled_outputs_says_so(folder: Path) -> None:
    tuned, base = open_checkpoint(folder / "tuned", "tuned"), open_checkpoint(folder / "base", "base")
    assert with_pooling(EncoderOptions(), [tuned], ()).pooling == "pooler"
    assert with_pooling(EncoderOptions(), (), [HeadSource(path=str(folder / "tuned"))]).pooling == "pooler"
    assert with_pooling(EncoderOptions(), [base], [None]).pooling is None
    assert with_pooling(EncoderOptions(pooling="first"), [tuned], ()).pooling == "first"
    assert with_pooling(EncoderOptions(), (), [HeadSource(path=str(folder / "nothing"))]).pooling is None


def test_a_pooling_that_a_head_does_not_take_is_noted(folder: Path) -> None:
    heads = {"tuned": HeadSource(path=str(folder / "tuned")), "other": None}
    (note,) = pooling_notes(EncoderOptions(pooling="mean"), heads)
    assert note.startswith("tuned: the head of a BertForSequenceClassification takes the model's pooled output")
    assert note.endswith("leave `pooling` out, or write `pooling: pooler`")
    assert pooling_notes(EncoderOptions(), heads) == pooling_notes(EncoderOptions(pooling="pooler"), heads) == []
    assert pooling_notes(EncoderOptions(pooling="mean"), {"base": HeadSource(path=str(folder / "base"))}) == []


def test_a_head_that_a_merge_kept_remembers_its_class(tmp_path: Path, folder: Path) -> None:
    heads = ["classifier.*"]
    mg.merge(base=folder / "base", models=[folder / "tuned"], method="average", heads=heads, output=tmp_path / "out")
    kept = tmp_path / "out" / "heads" / "tuned.safetensors"
    assert read_header(kept).metadata["architecture"] == "BertForSequenceClassification"
    assert with_pooling(EncoderOptions(), (), [HeadSource(path=str(kept))]).pooling == "pooler"


def test_the_head_on_that_feature_is_the_live_classifier(folder: Path) -> None:
    live = transformers.BertForSequenceClassification.from_pretrained(folder / "tuned").eval()
    head = read_head(HeadSource(path=str(folder / "tuned")), "tuned", 32)
    with torch.no_grad():
        features = live.bert(tokens()).pooler_output
        torch.testing.assert_close(head.logits(features), live(tokens()).logits, atol=1e-6, rtol=0)


def test_a_comparison_scores_the_pooled_output_and_says_so(tmp_path: Path, folder: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(59))]
    (folder / "base" / "vocab.txt").write_text("\n".join(vocabulary))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    rows = [{"text": f"w{n} w{n + 3}", "label": n % 2} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"path": str(tmp_path / "rows.jsonl"), "column": "text", "label": "label"}
    task = {"name": "tuned", "head": str(folder / "tuned"), "validation": source, "test": source}
    recipe = {"base": folder / "base", "models": [folder / "tuned"], "method": "average", "heads": ["classifier.*"]}
    result = mg.compare(recipe, "average", {"tasks": [task]}, output=tmp_path / "comparison", scales=[1.0], workers=1)
    assert any("pooled output" in note for note in result.notes)
