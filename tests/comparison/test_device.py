"""A comparison's merges and models on a device that is made up: the CPU's results, and nothing moves unless told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mergeometry.api import make_plan
from mergeometry.cli.app import app
from mergeometry.comparison import scorer as scorer_module
from mergeometry.comparison.merging import merge_jobs, merge_tensor
from mergeometry.comparison.read_inputs import TEST, read_splits
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.scratch import create
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.encoders.build import build_encoder
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.execution import device_reader
from mergeometry.sources import open_checkpoint
from tests.helpers import learning_models, models
from tests.helpers.fake_device import FakeDevice


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """The device, also in the thread that reads ahead."""
    made = FakeDevice()

    def within(work: Any, *given: Any) -> Any:
        with made:
            return work(*given)

    class Pool(ThreadPoolExecutor):
        def submit(self, work: Any, /, *given: Any, **more: Any) -> Any:
            return super().submit(within, work, *given)

    monkeypatch.setattr(device_reader, "ThreadPoolExecutor", Pool)
    yield made


def test_all_methods_of_a_comparison_merge_there(tmp_path: Path, device: FakeDevice) -> None:
    shapes = {"layer.0.dense.weight": (8, 6), "layer.1.dense.weight": (5, 8), "up.bias": (24,)}
    family = models.write_family(tmp_path, count=3, adapters=1, shapes=shapes)
    plans = [make_plan({**family, "method": method}) for method in ("tsv_m", "ties", "iso_c")]
    results = []
    for place in ("cpu", "meta"):
        jobs, sizes = merge_jobs(plans, tmp_path / f"scratch-{place}", ("gram",), place)
        create(sizes)
        if place == "cpu":
            done = [merge_tensor(job) for job in jobs]
        else:
            with device:
                done = [merge_tensor(job) for job in jobs]
        results.append([(stored.read().clone(), one.statistics) for one in done for stored in one.stored])
    assert device.entries["to"] >= sum(8 * 6 + 5 * 8 + 24 for _ in range(3))
    for (by_cpu, figures), (there, others) in zip(*results, strict=True):
        assert float((there - by_cpu).norm()) <= 1e-4 * float(by_cpu.norm())
        for one, other in zip(figures, others, strict=True):
            torch.testing.assert_close(other.to_json(), one.to_json(), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base, a fine-tune of it, and a task of texts."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    learning_models.save_base(model, folder / "base")
    learning_models.save_tuned(model, folder / "task", 1, size=0.5)
    texts = [" ".join(f"w{2 + (3 * n + k) % 36}" for k in range(20)) for n in range(6)]
    (folder / "task.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tasks = {"encoder": {"kind": "causal", "max_length": 64}, "tasks": [{"name": "task", "test": "task.jsonl"}]}
    (folder / "tasks.yaml").write_text(json.dumps(tasks))
    return folder


def test_a_model_is_run_there_under_the_weights_that_are_loaded(
    language_models: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tasks = open_checkpoint(language_models / "base", "base"), load_tasks(language_models / "tasks.yaml")
    splits, problems, _ = read_splits(tasks, base, {TEST: ["task"]})
    assert not problems
    given: Any = {"base": str(language_models / "base"), "models": [str(language_models / "task")], "method": "average"}
    plan = make_plan(given)
    # PyTorch cannot view tensors of a made-up device in inference mode.
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    by_cpu = Scorer(base, tasks.encoder, splits)

    def built(checkpoint: Any, options: Any, wanted: torch.device) -> Any:
        # PyTorch's own `meta` serves transformers to build a model, so this one is moved once it is built.
        encoder: Any = build_encoder(checkpoint, options, torch.device("cpu"))
        encoder.module.to(wanted)
        encoder.output = encoder.module.get_parameter(encoder.tied)
        return encoder

    with monkeypatch.context() as patch, device:
        patch.setattr(scorer_module, "build_encoder", built)
        there = Scorer(base, tasks.encoder, splits, "meta")
        for weights in ("base", "expert", "base"):
            for scorer in (by_cpu, there):
                found = expert_weights(plan, 0, by_cpu.encoder, sites_of(plan, by_cpu.encoder))
                scorer.load(found if weights == "expert" else ())
            assert there.scores(TEST, ["task"])["task"] == pytest.approx(
                by_cpu.scores(TEST, ["task"])["task"], rel=1e-4
            )
            assert there.next_tokens(TEST, "task")[1] == by_cpu.next_tokens(TEST, "task")[1]
        prompt = torch.tensor([[2, 5, 8, 11]])
        for scorer in (by_cpu, there):
            scorer.load(expert_weights(plan, 0, by_cpu.encoder, sites_of(plan, by_cpu.encoder)))
        logits = there.module(input_ids=prompt.to(there.encoder.device), use_cache=False).logits
        torch.testing.assert_close(logits.cpu(), by_cpu.module(input_ids=prompt, use_cache=False).logits)


@pytest.mark.parametrize(("device", "status", "said"), [("tpu", 2, "the devices are auto, cpu, cuda"),
                                                        ("cuda:99", 1, "--device cuda:99")])  # fmt: skip
def test_a_device_that_is_not_there_is_refused(
    language_models: Path, tmp_path: Path, device: str, status: int, said: str
) -> None:
    recipe = {"base": "base", "models": ["task"], "method": "average"}
    (language_models / "recipe.yaml").write_text(json.dumps(recipe))
    given = ["--tasks", str(language_models / "tasks.yaml"), "--device", device]
    output = tmp_path / "comparison"
    for command in (
        ["compare", str(language_models / "recipe.yaml"), "--methods", "average", "--output", str(output)],
        ["evaluate", str(language_models / "base")],
    ):
        shown = CliRunner().invoke(app, [*command, *given])
        assert shown.exit_code == status and said in shown.output, shown.output
    assert not output.exists()
