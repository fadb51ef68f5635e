"""Models whose vocabularies differ are merged by token: the output loads, encodes and runs as the live merge does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError
from tests.helpers.vocabularies import PAGE, bpe, fine_tuned, merged_by_hand, model_of, saved, wordpiece

CHAT = "<|turn|>the rows of two tables<|end|> meet<|tool|>"
KINDS = {"llama": bpe, "gpt2": bpe, "bert": wordpiece, "t5": bpe}


class Family:
    """A base and two fine-tunes of one kind, on disk and alive: both add tokens, in different orders."""

    def __init__(self, folder: Path, kind: str) -> None:
        tokenizer = KINDS[kind]()
        base = model_of(kind, tokenizer)
        first = fine_tuned(base, tokenizer, ["<|turn|>", "<|end|>"], 1)
        second = fine_tuned(base, tokenizer, ["<|tool|>", "<|end|>"], 2)
        self.inputs = {"base": (base, tokenizer), "first": first, "second": second}
        self.folder = folder
        for name, (model, own) in self.inputs.items():
            saved(folder / name, model, own)
        self.recipe = {
            "base": str(folder / "base"),
            "models": [
                {"path": str(folder / "first"), "weight": 0.5},
                {"path": str(folder / "second"), "weight": 0.25},
            ],
            "method": "task_arithmetic",
        }

    def merged(self, output: Path, **keys: Any) -> tuple[Any, Any]:
        """The merge, loaded as people load it."""
        from transformers import AutoTokenizer

        mg.merge(mg.load_recipe({**self.recipe, **keys}), output)
        model, report = type(self.inputs["base"][0]).from_pretrained(output, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        return model.eval(), AutoTokenizer.from_pretrained(output)

    def by_hand(self, model: Any, tokens: dict[str, int], rows: int) -> Any:
        """The same merge of the live models, in a model of the output's configuration."""
        inputs = [(one, tokenizer.get_vocab()) for one, tokenizer in self.inputs.values()]
        state = merged_by_hand(inputs, tokens, [0.5, 0.25], rows)
        expected = type(model)(model.config).double().eval()
        expected.load_state_dict(state)
        return expected


@pytest.fixture(scope="module", params=KINDS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tmp_path_factory.mktemp("family"), "llama")


def assert_runs_alike(model: Any, expected: Any, ids: torch.Tensor) -> None:
    given = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        ours, theirs = model(input_ids=ids, **given).logits, expected(input_ids=ids, **given).logits
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=1e-4)


def test_a_union_runs_as_the_live_merge(family: Family, tmp_path: Path) -> None:
    model, tokenizer = family.merged(tmp_path / "merged", tokenizer="union")
    base = family.inputs["base"][1]
    vocabulary = tokenizer.get_vocab()
    assert vocabulary == {**base.get_vocab(), "<|turn|>": 127, "<|end|>": 128, "<|tool|>": 129}
    assert tokenizer.encode(PAGE, add_special_tokens=False) == base.encode(PAGE, add_special_tokens=False)
    text = tokenizer(CHAT, add_special_tokens=False, return_tensors="pt").input_ids
    assert {127, 128, 129} <= set(text[0].tolist())
    assert tokenizer.decode(text[0], skip_special_tokens=True).split()[:2] == ["the", "rows"]
    assert model.config.vocab_size == 130
    tied = getattr(model.config, "tie_word_embeddings", False)
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is table) == tied == (family.inputs["base"][0].get_output_embeddings() is not None and tied)
    assert_runs_alike(model, family.by_hand(model, vocabulary, 130), text)


def test_the_bases_vocabulary(family: Family, tmp_path: Path) -> None:
    model, tokenizer = family.merged(tmp_path / "merged", tokenizer="base")
    assert tokenizer.get_vocab() == family.inputs["base"][1].get_vocab()
    text = tokenizer(PAGE, add_special_tokens=False, return_tensors="pt").input_ids[:, :40]
    assert_runs_alike(model, family.by_hand(model, tokenizer.get_vocab(), 127), text)


def test_a_models_vocabulary_and_its_padding(llama: Family, tmp_path: Path) -> None:
    model, tokenizer = llama.merged(tmp_path / "merged", tokenizer={"source": "second", "pad_to_multiple_of": 64})
    assert tokenizer.get_vocab() == llama.inputs["second"][1].get_vocab()
    assert model.config.vocab_size == 192
    expected = llama.by_hand(model, tokenizer.get_vocab(), 192).state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = model.state_dict()[name].double()
        torch.testing.assert_close(rows[:129], expected[name][:129], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(rows[129:], expected[name][:129].mean(0).expand(63, -1), atol=1e-6, rtol=1e-5)


def test_rules_for_single_tokens(llama: Family, tmp_path: Path) -> None:
    tokens = {
        "<|turn|>": "second",
        "<|new|>": {"source": {"kind": "zero"}},
        "<|end|>": {"source": {"kind": "model_token", "model": "second", "token": "<|tool|>"}, "force": True},
        "<s>": {"source": {"kind": "model_token", "model": "first", "token_id": 5}, "force": True},
    }
    with pytest.raises(MismatchError, match=r"tokenizer.tokens.<\|turn\|>: second has no token"):
        mg.make_plan(mg.load_recipe({**llama.recipe, "tokenizer": {"source": "union", "tokens": tokens}}))
    del tokens["<|turn|>"]
    model, tokenizer = llama.merged(tmp_path / "merged", tokenizer={"source": "union", "tokens": tokens})
    table = model.get_input_embeddings().weight
    second, first = (llama.inputs[name][0].get_input_embeddings().weight for name in ("second", "first"))
    tool = llama.inputs["second"][1].convert_tokens_to_ids("<|tool|>")
    assert tokenizer.convert_tokens_to_ids("<|new|>") == 130 == len(table) - 1
    assert not table[130].any()
    assert torch.equal(table[128], second[tool]) and torch.equal(table[129], second[tool])
    assert torch.equal(table[tokenizer.convert_tokens_to_ids("<s>")], first[5])


def test_configurations_follow_the_tokens(llama: Family, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    model, tokenizer = llama.inputs["first"]
    order = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    turned = {token: len(order) - 1 - row for token, row in order}
    content = json.loads((llama.folder / "first" / "tokenizer.json").read_text())
    content["model"]["vocab"] = turned
    content["added_tokens"] = sorted(
        ({**one, "id": turned[one["content"]]} for one in content["added_tokens"]), key=lambda one: one["id"]
    )
    saved(tmp_path / "turned", model, tokenizer)
    (tmp_path / "turned" / "tokenizer.json").write_text(json.dumps(content))
    with torch.no_grad():
        state = {n: t.flip(0) if t.shape[:1] == (129,) else t for n, t in model.state_dict().items()}
    flipped = type(model)(model.config)
    flipped.load_state_dict(state)
    flipped.save_pretrained(tmp_path / "turned")
    (tmp_path / "turned" / "config.json").write_text((llama.folder / "base" / "config.json").read_text())

    recipe = {**llama.recipe, "models": [{"path": str(tmp_path / "turned"), "name": "turned"}]}
    mg.merge(mg.load_recipe({**recipe, "tokenizer": "turned"}), tmp_path / "merged")
    written = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert written.get_vocab() == turned
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["vocab_size"] == 129
    assert {key: config[f"{key}_token_id"] for key in ("bos", "eos", "pad")} == {"bos": 128, "eos": 127, "pad": 126}
    generation = GenerationConfig.from_pretrained(tmp_path / "merged")
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (128, 127, 126)
    # One model at full weight is that model, whatever the order of its rows.
    loaded = type(model).from_pretrained(tmp_path / "merged")
    texts = [one(CHAT, add_special_tokens=False, return_tensors="pt").input_ids for one in (written, tokenizer)]
    with torch.no_grad():
        ours, theirs = loaded(texts[0]).logits, model(texts[1]).logits.flip(-1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_padded_tables_of_one_vocabulary_need_no_rule(llama: Family, tmp_path: Path) -> None:
    base, tokenizer = llama.inputs["base"]
    import copy

    padded = copy.deepcopy(base)
    padded.resize_token_embeddings(128, mean_resizing=False)
    with torch.no_grad():
        padded.model.embed_tokens.weight += 1
    saved(tmp_path / "padded", padded, tokenizer)
    for ours, theirs, rows in (("base", "padded", 127), ("padded", "base", 128)):
        places = {"base": llama.folder / "base", "padded": tmp_path / "padded"}
        recipe = {"base": str(places[ours]), "models": [str(places[theirs])], "method": "task_arithmetic"}
        plan = mg.make_plan(mg.load_recipe(recipe))
        assert any("rows after the last token are padding" in note for note in plan.notes)
        mg.merge(mg.load_recipe(recipe), tmp_path / f"on-{ours}")
        merged = type(base).from_pretrained(tmp_path / f"on-{ours}")
        assert merged.config.vocab_size == rows
        wanted = {"base": base, "padded": padded}
        table = merged.get_input_embeddings().weight
        torch.testing.assert_close(table[:127], wanted[theirs].get_input_embeddings().weight[:127])
        torch.testing.assert_close(table[127:], wanted[ours].get_input_embeddings().weight[127:])


def test_without_a_rule_every_mismatch_is_told_with_the_rules(llama: Family) -> None:
    with pytest.raises(MismatchError) as caught:
        mg.make_plan(mg.load_recipe(llama.recipe))
    told = "\n".join(caught.value.mismatches)
    for label in ("first", "second"):
        assert f"{label}: has 2 tokens that the base lacks" in told
        assert f"`tokenizer: union` (the tokens of all), `tokenizer: base` or `tokenizer: {label}`" in told
        assert f"{label}: 'lm_head.weight' has shape [129, 32]" in told


def test_a_union_without_a_meaning_is_refused(llama: Family, tmp_path: Path) -> None:
    other = bpe("other words give other merges: wxyz wxyz zyxw " + PAGE[::-1])
    saved(tmp_path / "other", model_of("llama", other), other)
    recipe = {**llama.recipe, "models": [str(tmp_path / "other")]}
    with pytest.raises(MismatchError, match="base and other merge letters in different orders"):
        mg.make_plan(mg.load_recipe({**recipe, "tokenizer": "union"}))
    pieces = wordpiece()
    saved(tmp_path / "pieces", model_of("llama", pieces), pieces)
    recipe = {**llama.recipe, "models": [str(tmp_path / "pieces")]}
    with pytest.raises(MismatchError, match="base splits texts by BPE, pieces by WordPiece"):
        mg.make_plan(mg.load_recipe({**recipe, "tokenizer": "union"}))
    # By token onto one of them it has a meaning: common tokens are merged, all others are the base's.
    assert mg.make_plan(mg.load_recipe({**recipe, "tokenizer": "base"}))


def test_a_union_of_wordpieces_splits_by_the_longest_of_all(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    short, long = wordpiece(size=90), wordpiece("tensors and vectors and tensors " * 9, size=60)
    short.add_tokens(["<a>"])
    saved(tmp_path / "short", model_of("bert", short), short)
    saved(tmp_path / "long", model_of("bert", long, 1), long)
    recipe = {"base": str(tmp_path / "short"), "models": [str(tmp_path / "long")], "method": "average"}
    mg.merge(mg.load_recipe({**recipe, "tokenizer": "union"}), tmp_path / "merged")
    merged = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert set(merged.get_vocab()) == set(short.get_vocab()) | set(long.get_vocab())
    assert {token: merged.get_vocab()[token] for token in short.get_vocab()} == short.get_vocab()
    assert merged.tokenize("tensors <a> merged") == ["tensors", "<a>", *short.tokenize("merged")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("frist", "tokenizer: no model is named 'frist', did you mean 'first'"),
        ({"source": "union", "tokens": {"<a>": "thrid"}}, "tokenizer.tokens.<a>.source: no model is named 'thrid'"),
        (
            {"source": "union", "tokens": {"<a>": {"source": {"kind": "model_token", "model": "first"}}}},
            "<a>.source: give either",
        ),
        ({"sources": "union"}, "unknown key 'tokenizer.sources', did you mean 'source'?"),
        ({"source": "union", "pad_to_multiple_of": 0}, "tokenizer.pad_to_multiple_of"),
    ],
)
def test_what_the_key_does_not_take(llama: Family, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        mg.load_recipe({**llama.recipe, "tokenizer": value})
