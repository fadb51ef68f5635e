"""Merges by Fisher information from recipes: what is written, what is read from files, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.activations.run import merge_on_data, read_data
from mergeometry.cli.app import app
from mergeometry.encoders import build_encoder
from mergeometry.encoders.heads import read_head
from mergeometry.errors import DataError, MergeometryError, MismatchError, RecipeError
from mergeometry.fisher.collect import collect_fishers
from mergeometry.inputs.unlabelled import unlabelled_texts
from mergeometry.recipe.inputs import EncoderOptions, HeadSource
from mergeometry.sources import TensorReader, open_checkpoint
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import SHIPPED
from mergeometry_suite.tasks import load
from tests.helpers import learning_models, models
from tests.helpers.elsewhere import Elsewhere
from tests.helpers.labelled_tasks import written


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"), classes=(3, 2), count=8)


def recipe_of(family: dict[str, Any], method: Any = "fisher", **more: Any) -> dict[str, Any]:
    tasks = {task["name"]: {"path": task["data"], "head": task["head"]} for task in family["adapt"]["tasks"]}
    return {"base": family["base"], "models": family["models"], "method": method, "data": {"tasks": tasks}, **more}


def fishers_of(recipe: dict[str, Any], folder: Path) -> list[dict[str, Tensor]]:
    folder.mkdir()
    plan = mg.make_plan(recipe)
    section = plan.recipe.data
    assert section is not None
    found = collect_fishers(plan, section, read_data(plan, section), folder)
    with TensorReader() as reader:
        return [
            {
                name: torch.zeros(models.loaded(Path(recipe["base"]))[name].shape)
                if info is None
                else reader.read(info)
                for name, infos in found.stored.items()
                for info in [infos[place]]
            }
            for place in range(len(plan.models))
        ]


@pytest.fixture(scope="module")
def estimated(family: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    return fishers_of(recipe_of(family), tmp_path_factory.mktemp("estimated") / "fishers")


def saved(fishers: dict[str, Tensor], path: Path) -> str:
    safetensors.torch.save_file({name: value.contiguous() for name, value in fishers.items()}, path)
    return str(path)


def test_a_merge_is_the_methods_own(family: dict[str, Any], estimated: list[dict[str, Tensor]], tmp_path: Path) -> None:
    run = mg.merge(recipe_of(family, scale=0.8), tmp_path / "merged", workers=1)
    merged, base = models.loaded(tmp_path / "merged"), models.loaded(Path(family["base"]))
    own = [models.loaded(Path(path)) for path in family["models"]]
    norms = [sum(float(value.double().square().sum()) for value in fishers.values()) ** 0.5 for fishers in estimated]
    for name, start in base.items():
        method = mg.methods.Fisher().with_fishers([fishers[name] for fishers in estimated], norms)
        tau = method([model[name] - start for model in own])
        torch.testing.assert_close(merged[name], start + 0.8 * tau, rtol=1e-5, atol=1e-6)
    assert run.data is not None
    assert [task["norm"] for task in run.data["tasks"]] == pytest.approx(norms)
    assert [task["items"] for task in run.data["tasks"]] == [8, 8]
    assert any("predictions depend on 2 tensors, whose plain mean is taken: pooler" in one for one in run.warnings)
    assert {path.name for path in tmp_path.iterdir()} == {"merged"}


def test_ready_made_information_merges_as_what_it_was_estimated_from(
    family: dict[str, Any], estimated: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    """By files for one model and for both: one with another prefix, as the whole model's class writes its names."""
    recipe = recipe_of(family)
    mg.merge(recipe, tmp_path / "estimated", workers=1)
    prefixed = {f"bert.{name}": value for name, value in estimated[0].items()}
    recipe["data"]["tasks"]["task0"] = {"fisher": saved(prefixed, tmp_path / "first.safetensors")}
    mg.merge(recipe, tmp_path / "one", workers=1)
    (tmp_path / "second").mkdir()
    saved(estimated[1], tmp_path / "second" / "model.safetensors")
    recipe["data"]["tasks"]["task1"] = {"fisher": str(tmp_path / "second")}
    run = mg.merge(recipe, tmp_path / "both", workers=1)
    expected = models.weight_hashes(tmp_path / "estimated")
    assert models.weight_hashes(tmp_path / "one") == models.weight_hashes(tmp_path / "both") == expected
    assert run.data is not None
    assert [Path(task["fisher"]).name for task in run.data["tasks"]] == ["first.safetensors", "second"]
    assert all(len(task["sha256"]) == 64 for task in run.data["tasks"])


@pytest.mark.suite
def test_adapters_and_stored_layouts(tmp_path: Path) -> None:
    """An adapter's information is that of the matrix that it is folded into, in the layout of the file."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=12, n_layer=2, n_head=2, n_positions=32, vocab_size=40, bos_token_id=2, eos_token_id=3)
    base = GPT2LMHeadModel(config).eval()
    learning_models.save_base(base, tmp_path / "base")
    entries = [
        str(models.peft_adapter(base, tmp_path / "task0", ["c_attn", "c_fc"], 0, fan_in_fan_out=True)),
        str(learning_models.save_tuned(base, tmp_path / "task1", 1)),
    ]
    path = str(learning_models.save_texts(tmp_path / "texts.jsonl", learning_models.texts_of(0, 6)))
    data = {"tasks": {"task0": path, "task1": path}}
    recipe = {"base": str(tmp_path / "base"), "models": entries, "method": "fisher", "data": data}
    first, second = fishers_of(recipe, tmp_path / "fishers")
    mg.merge(recipe, tmp_path / "merged", workers=2)
    mg.merge({**recipe, "models": entries[:1], "method": "task_arithmetic", "data": None}, tmp_path / "folded")
    merged, weights = (
        models.loaded(tmp_path / "merged"),
        [models.loaded(tmp_path / "folded"), models.loaded(Path(entries[1]))],
    )
    norms = [sum(float(value.double().square().sum()) for value in one.values()) ** 0.5 for one in (first, second)]
    for name in ("transformer.h.1.attn.c_attn.weight", "transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"):
        shares = [(one[name] / norm).clamp(min=1e-6) for one, norm in zip((first, second), norms, strict=True)]
        expected = sum(share * own[name] for share, own in zip(shares, weights, strict=True)) / sum(shares)
        torch.testing.assert_close(merged[name], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(MergeometryError, match="not low-rank"):
        mg.make_plan({**recipe, "models": entries[:1], "data": {"tasks": {"task0": path}}, "output": {"adapter": True}})


def test_files_that_do_not_fit_are_refused_in_the_plan(
    family: dict[str, Any], estimated: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    recipe, query = recipe_of(family), "encoder.layer.0.attention.self.query.weight"
    first, second = dict(estimated[0]), dict(estimated[1])
    del first["embeddings.LayerNorm.bias"]
    first["odd.weight"] = torch.ones(2)
    second[query] = second[query][:3]
    second["pooler.dense.bias"] = torch.ones(16, dtype=torch.int64)
    recipe["data"]["tasks"] = {
        "task0": {"fisher": saved(first, tmp_path / "first.safetensors")},
        "task1": {"fisher": saved(second, tmp_path / "second.safetensors")},
    }
    with pytest.raises(MismatchError) as caught:
        mg.make_plan(recipe)
    assert caught.value.mismatches == (
        "task0: there is no Fisher information of 'embeddings.LayerNorm.bias'",
        "task0: there is Fisher information of 'odd.weight', which the base lacks",
        f"task1: the Fisher information of {query!r} is [3, 16], and the tensor [16, 16]",
        "task1: the Fisher information of 'pooler.dense.bias' is stored as I64, which holds no fractions",
    )
    recipe["data"]["tasks"]["task1"] = {"fisher": str(tmp_path / "nowhere")}
    with pytest.raises(MergeometryError) as missing:
        mg.make_plan(recipe)
    assert missing.value.model == "task1"


def test_values_that_are_no_information_are_refused_together(
    family: dict[str, Any], estimated: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    recipe, query = recipe_of(family), "encoder.layer.0.attention.self.query.weight"
    first = {name: value.clone() for name, value in estimated[0].items()}
    first[query][0, :3] = float("nan")
    first[query][1, 0] = float("inf")
    first["embeddings.LayerNorm.bias"][2] = -1.0
    second = {name: torch.zeros_like(value) for name, value in estimated[1].items()}
    recipe["data"]["tasks"] = {
        "task0": {"fisher": saved(first, tmp_path / "first.safetensors")},
        "task1": {"fisher": saved(second, tmp_path / "second.safetensors")},
    }
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(MismatchError) as caught:
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert caught.value.mismatches == (
        "task0: 1 value of the Fisher information of 'embeddings.LayerNorm.bias' is negative",
        f"task0: 4 values of the Fisher information of {query!r} are NaN or infinite",
        "task1: its Fisher information is zero everywhere",
    )
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, "fisher merges by Fisher information, and there is no `data:` section"),
        ({"method": "regmean"}, "data.tasks.task0.head is for Fisher information, and no method of the recipe merges"),
        ({"data": {"tasks": {"task0": "a", "task1": "b"}, "labels": 2}, "method": "esm"}, "data.labels is for Fisher"),
        (
            {
                "data": {"tasks": {"task0": "a", "task1": {"fisher": "b"}}},
                "tensors": [{"match": "*query*", "method": "esm"}],
            },
            "esm merges by activations, and data.tasks.task1 gives no inputs, only Fisher information",
        ),
        ({"data": {"tasks": {"task0": "a", "task1": {"fisher": "b", "path": "c"}}}}, "in place of inputs"),
        ({"data": {"tasks": {"task0": "a", "task1": {"head": "b"}}}}, "give either `path`"),
        ({"data": {"tasks": {"task0": "a", "task1": "b"}, "labels": 0}}, "data.labels"),
        ({"data": {"tasks": {"task0": "a", "task1": "b"}, "labels": "all"}}, "data.labels"),
        ({"data": {"tasks": {"task0": "a"}}}, "no inputs for 'task1'"),
        ({"method": {"name": "fisher", "floor": 0}}, "floor"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_read(
    family: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    # No file is looked at: the base is nowhere.
    with pytest.raises(RecipeError) as caught:
        mg.make_plan({**recipe_of(family), "base": "nowhere", **changes})
    assert said in str(caught.value)


def test_a_head_that_is_not_known_to_fit_is_refused(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family)
    del recipe["data"]["tasks"]["task0"]["head"]
    with pytest.raises(DataError, match="nothing says which feature the model's own head takes") as caught:
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert caught.value.model == "task0"
    deep = models.loaded(Path(family["models"][0])) | {
        "pre_classifier.weight": torch.ones(16, 16), "classifier.weight": torch.ones(3, 16)
    }  # fmt: skip
    config = json.loads((Path(family["base"]) / "config.json").read_text())
    recipe["models"] = [str(models.write_model(tmp_path / "task0", deep, config)), recipe["models"][1]]
    recipe |= {"heads": ["*classifier.*"], "data": {**recipe["data"], "encoder": {"pooling": "first"}}}
    with pytest.raises(DataError, match="more than a linear layer: it has 'pre_classifier"):
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"task0"}


def test_language_models_take_neither_a_head_nor_every_label(family: dict[str, Any], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=12, n_layer=1, n_head=2, n_positions=32, vocab_size=40, bos_token_id=2, eos_token_id=3)
    base = GPT2LMHeadModel(config).eval()
    learning_models.save_base(base, tmp_path / "base")
    entry = str(learning_models.save_tuned(base, tmp_path / "task0", 0))
    task = family["adapt"]["tasks"][0]
    recipe = {"base": str(tmp_path / "base"), "models": [entry], "method": "fisher"}
    with pytest.raises(DataError, match="predicts by its own output layer"):
        mg.merge(recipe, tmp_path / "out", data={"tasks": {"task0": {"path": task["data"], "head": task["head"]}}})
    with pytest.raises(DataError, match="too many labels per token"):
        mg.merge(recipe, tmp_path / "out", data={"tasks": {"task0": task["data"]}, "labels": "expected"})


def test_plan_counts_what_estimating_takes(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family)
    recipe["data"]["tasks"]["task1"] = {"fisher": "second.safetensors"}
    shapes = models.loaded(Path(family["base"]))
    saved({name: torch.ones_like(value) for name, value in shapes.items()}, tmp_path / "second.safetensors")
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    done = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["data"]
    assert [task["name"] for task in found["tasks"]] == ["task0"]
    assert found["fishers"] == {"task1": str(tmp_path / "second.safetensors")}
    entries = sum(value.numel() for value in shapes.values())
    assert 4 * entries <= found["scratch_bytes"] <= 4 * entries + 5000 * len(shapes)
    assert found["seconds"] > 0 and found["memory_bytes"] > 6e8
    spoken = CliRunner().invoke(app, ["plan", str(path)]).stdout
    assert "task task1: Fisher information from" in spoken and "second.safetensors" in spoken


@pytest.mark.suite
def test_a_comparison_scores_what_a_merge_writes(tmp_path: Path) -> None:
    from mergeometry.comparison.evaluate import evaluate
    from mergeometry.comparison.tasks_file import load_tasks

    recipe = learning_models.family(tmp_path)
    written(tmp_path, recipe)
    tasks = json.loads((tmp_path / "tasks.yaml").read_text())
    for task, learnt in zip(tasks["tasks"], recipe["adapt"]["tasks"], strict=True):
        task["unlabelled"] = Path(learnt["data"]).name
    (tmp_path / "tasks.yaml").write_text(json.dumps(tasks))
    found = mg.compare(
        tmp_path / "recipe.yaml", "fisher, regmean, average", tmp_path / "tasks.yaml", output=tmp_path / "out",
        scales=[1.0], workers=1,
    )  # fmt: skip
    row = next(row for row in found.rows if row.name == "fisher")
    given, judged = json.loads((tmp_path / "recipe.yaml").read_text()), load_tasks(tmp_path / "tasks.yaml")
    data = recipe_of(recipe)["data"] | {"encoder": judged.encoder.model_dump()}
    mg.merge({**given, "method": "fisher", "data": data}, tmp_path / "merged", workers=1)
    assert evaluate(tmp_path / "merged", judged).tasks == pytest.approx(row.at_best.tasks)


@pytest.mark.suite
def test_trained_experts_predict_more_alike_than_under_their_mean(tmp_path: Path) -> None:
    """Two of the suite's experts, by a few inputs each: their predictions on other texts change less."""
    names, head_of = ("trec", "movie"), {name: str(SHIPPED / name / "head.safetensors") for name in ("trec", "movie")}
    given = {"base": str(backbone()), "models": [{"path": str(SHIPPED / name), "name": name} for name in names]}
    tasks = {}
    for name in names:
        texts = learning_models.save_texts(tmp_path / f"{name}.jsonl", load(name).train.take(12).texts)
        tasks[name] = {"path": str(texts), "head": head_of[name]}
    data = {"tasks": tasks, "labels": 2, "encoder": {"pooling": "mean", "max_length": 32}}
    mg.merge({**given, "method": "fisher", "data": data}, tmp_path / "fisher", workers=1)
    mg.merge({**given, "method": "average"}, tmp_path / "average", workers=1)
    changes = {"fisher": 0.0, "average": 0.0}
    for model in given["models"]:
        name = model["name"]
        mg.merge({**given, "models": [model], "method": "average"}, tmp_path / name, workers=1)
        own = predicted(tmp_path / name, name, head_of[name])
        for merge in changes:
            merged = predicted(tmp_path / merge, name, head_of[name])
            changes[merge] += float((own.exp() * (own - merged)).sum(dim=1).mean())
    assert changes["fisher"] < 0.9 * changes["average"], changes


def predicted(folder: Path, task: str, head: str) -> Tensor:
    """Log-probabilities of a task's classes for some of its test texts."""
    options = EncoderOptions(pooling="mean", max_length=32)
    encoder = build_encoder(open_checkpoint(folder, task), options, torch.device("cpu"))
    inputs = encoder.prepare(unlabelled_texts(load(task).test.take(60).texts))
    with torch.no_grad():
        features = torch.cat([encoder.features(encoder.module, {}, encoder.batch([item])) for item in inputs.items])
    return read_head(HeadSource(path=head), task, encoder.width).logits(features).log_softmax(dim=1)


def test_information_that_is_estimated_elsewhere_gives_the_same_bytes(family: dict[str, Any], tmp_path: Path) -> None:
    plan, there = mg.make_plan(recipe_of(family)), Elsewhere()
    merge_on_data(plan, tmp_path / "here", workers=1)
    merge_on_data(plan, tmp_path / "there", executor=there)
    assert models.weight_hashes(tmp_path / "here") == models.weight_hashes(tmp_path / "there")
    assert [one for one in there.ran if one.startswith("estimate_")] == ["estimate_there task0", "estimate_there task1"]
