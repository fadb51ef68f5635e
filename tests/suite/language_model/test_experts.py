"""The experts that ship are small, better than the base, and merge."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.comparison.generation import PROMPT, continue_greedily
from mergeometry.comparison.read_inputs import TEST, read_splits
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.sources import open_checkpoint
from mergeometry_suite.language_model.backbone import NAME, TOKENS, build_language_model, language_backbone
from mergeometry_suite.language_model.domains import DOMAINS
from mergeometry_suite.language_model.experts import SHIPPED, load_adapter, load_language_expert
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.language_model.train import LINEARS
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.packages import SMOLLM
from tests.helpers.language_domains import every_domain, texts_of


@pytest.mark.suite
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
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) == ("messages", "expert") else pytest.mark.slow)
        for name in DOMAINS
        for kind in ("base", "expert")
    ],
)
@pytest.mark.suite
def test_base_and_expert_are_as_good_as_the_record_says(name: str, kind: str) -> None:
    expert, folder = load_language_expert(name), language_backbone()
    prepared = Tokenizer(folder, TOKENS).prepare(texts_of(name).validation)
    model = build_language_model(folder) if kind == "base" else load_adapter(folder, expert.folder)
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
