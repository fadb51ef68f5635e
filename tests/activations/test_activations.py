"""Merges by activations from recipes: what is collected, what is merged by it, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.activations.attach import attach
from mergeometry.activations.collect import Moments, collect
from mergeometry.activations.run import collect_for, merge_on_data, read_data
from mergeometry.cli.app import app
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.encoders import build_encoder
from mergeometry.errors import MergeometryError, MismatchError, RecipeError
from mergeometry.sources import open_model
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import SHIPPED
from mergeometry_suite.tasks import load
from tests.helpers import learning_models, models
from tests.helpers.elsewhere import Elsewhere
from tests.helpers.labelled_tasks import written


def data_of(family: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tasks": {task["name"]: task["data"] for task in family["adapt"]["tasks"]}, **more}


def recipe_of(family: dict[str, Any], method: Any = "regmean", **more: Any) -> dict[str, Any]:
    return {"base": family["base"], "models": family["models"], "method": method, "data": data_of(family), **more}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"))


def collected(recipe: dict[str, Any], folder: Path, **options: Any) -> tuple[mg.Plan, Moments]:
    folder.mkdir()
    plan = mg.make_plan(recipe)
    section = plan.recipe.data
    assert section is not None
    data = read_data(plan, section)
    if not options:
        return plan, collect_for(plan, section, data, folder)
    encoder = build_encoder(plan.base, section.encoder, torch.device("cpu"))
    return plan, collect(plan, encoder, list(data.values()), folder, **options)


def expected_moment(family: dict[str, Any], task: int, layer: int, limit: int = 32) -> Tensor:
    """Of the queries' inputs, which are the hidden states: by transformers alone, text by text."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(family["models"][task]).eval()
    tokenizer = AutoTokenizer.from_pretrained(family["base"])
    lines = Path(family["adapt"]["tasks"][task]["data"]).read_text("utf-8").splitlines()
    rows = []
    for place in range(limit):
        text = json.loads(lines[place * len(lines) // limit])["text"]
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        rows.append(found.hidden_states[layer][0].double())
    stacked = torch.cat(rows)
    return stacked.mT @ stacked / len(stacked)


def test_moments_are_those_of_the_experts_own_activations(family: dict[str, Any], tmp_path: Path) -> None:
    _, found = collected(recipe_of(family), tmp_path / "moments")
    for task, layer in ((0, 0), (2, 1)):
        for part in ("query", "key", "value"):
            stored = found.stored[f"encoder.layer.{layer}.attention.self.{part}.weight"]
            torch.testing.assert_close(stored[task], expected_moment(family, task, layer), rtol=1e-4, atol=1e-5)
    assert found.stored["encoder.layer.0.output.dense.weight"][1].shape == (24, 24)
    assert "pooler.dense.weight" not in found.stored


def test_little_memory_gives_the_same_moments(family: dict[str, Any], tmp_path: Path) -> None:
    _, one = collected(recipe_of(family), tmp_path / "one")
    _, many = collected(recipe_of(family), tmp_path / "many", budget=1)
    assert one.rows == many.rows
    assert list(one.stored) == list(many.stored)
    for name, moments in one.stored.items():
        assert all(torch.equal(moments[task], many.stored[name][task]) for task in range(3))


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("method", [{"name": "regmean", "shrinkage": 0.7}, {"name": "esm", "rank": 3}])
def test_a_merge_is_the_methods_own(tmp_path: Path, method: dict[str, Any], adapters: bool) -> None:
    family = learning_models.family(tmp_path, adapters=adapters)
    recipe = recipe_of(family, method, scale=0.8)
    plan, moments = collected(recipe, tmp_path / "moments")
    run = mg.merge(recipe, tmp_path / "merged", workers=1)
    merged, base = models.loaded(tmp_path / "merged"), models.loaded(Path(family["base"]))
    own = mg.methods.RegMean(shrinkage=0.7) if method["name"] == "regmean" else mg.methods.ESM(rank=3)
    norms: dict[str, dict[str, float]] = {}
    taus: dict[str, Tensor] = {}
    for name, stored in moments.stored.items():
        deltas = [delta_of(path, name, base[name]) for path in family["models"]]
        taus[name] = own.with_moments(list(stored))(deltas)
        norms.setdefault(name.replace(".0.", ".1."), {})[name] = float(taus[name].norm())
    for name, tau in taus.items():
        own_type = norms[name.replace(".0.", ".1.")]
        mean = sum(own_type.values()) / len(own_type)
        factor = (own_type[name] / mean) ** 2 if method["name"] == "esm" else 1.0
        torch.testing.assert_close(merged[name], base[name] + 0.8 * factor * tau, rtol=1e-4, atol=1e-5)
    assert run.data is not None
    assert [task["items"] for task in run.data["tasks"]] == [32, 32, 32]
    assert run.data["layers"] == len(taus) == (6 if adapters else 12)
    assert any("average: 1 matrix, pooler.dense.weight" in note for note in run.warnings) is not adapters
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    assert len(plan.models) == 3


def delta_of(path: str, name: str, base: Tensor) -> Tensor:
    model = open_model(path, "model")
    if hasattr(model, "deltas"):
        from mergeometry.sources import TensorReader, read_factors

        with TensorReader() as reader:
            left, right = read_factors(reader.read, model.deltas[name])
        return (left @ right * model.deltas[name].scaling).float()
    return models.loaded(Path(path))[name] - base


@pytest.mark.suite
def test_any_number_of_workers_writes_the_same(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family, "esm", tensors=[{"match": "*query.weight", "method": "regmean"}])
    for workers in (1, 2):
        mg.merge(recipe, tmp_path / str(workers), workers=workers)
    assert models.weight_hashes(tmp_path / "1") == models.weight_hashes(tmp_path / "2")


def test_transposed_layers_are_turned(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=12, n_layer=2, n_head=2, n_positions=32, vocab_size=40, bos_token_id=2, eos_token_id=3)
    base = GPT2LMHeadModel(config).eval()
    learning_models.save_base(base, tmp_path / "base")
    entries, tasks = [], {}
    for number in range(2):
        entries.append(str(learning_models.save_tuned(base, tmp_path / f"task{number}", number)))
        texts = learning_models.texts_of(number, 10)
        tasks[f"task{number}"] = str(learning_models.save_texts(tmp_path / f"{number}.jsonl", texts))
    recipe = {"base": str(tmp_path / "base"), "models": entries, "method": "regmean", "data": {"tasks": tasks}}
    plan, moments = collected(recipe, tmp_path / "moments")
    mg.merge(recipe, tmp_path / "merged", workers=1)
    name = next(name for name in moments.stored if name.endswith("h.1.mlp.c_proj.weight"))
    # Conv1D: y = x W with W of (inputs, outputs).
    (shape,) = {task.base.shape for task in plan.tasks if task.name == name}
    assert shape == (48, 12)
    weights = [models.loaded(Path(path))[name].double() for path in entries]
    shrunk = [0.9 * G + 0.1 * G.diagonal().diag() for G in moments.stored[name]]
    total = torch.linalg.inv(shrunk[0] + shrunk[1])
    expected = total @ (shrunk[0] @ weights[0] + shrunk[1] @ weights[1])
    torch.testing.assert_close(models.loaded(tmp_path / "merged")[name].double(), expected, rtol=1e-4, atol=1e-5)


def test_matrices_that_no_model_runs_go_to_other(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family, other={"name": "ties", "density": 0.5})
    ready, notes = attach(*collected(recipe, tmp_path / "moments"))
    assert notes == ["without activations, and merged by ties: 1 matrix, pooler.dense.weight"]
    (pooler,) = [task for task in ready.tasks if task.name == "pooler.dense.weight"]
    assert pooler.method == mg.methods.Ties(density=0.5)
    assert pooler.steps == "ties"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, "regmean merges by activations, and there is no `data:` section"),
        ({"data": None, "method": "tsv_m", "tensors": [{"match": "*query*", "method": "esm"}]}, "esm merges by"),
        ({"method": "tsv_m"}, "`data:` gives unlabelled inputs, and no method of the recipe needs them"),
        ({"data": {"tasks": {"task0": "x.jsonl"}}}, "no inputs for 'task1', 'task2'"),
        ({"data": {"tasks": {"tusk0": "x.jsonl"}}}, "no model is named 'tusk0', did you mean 'task0'"),
        ({"data": {"taks": {}}}, "unknown key 'data.taks', did you mean 'tasks'"),
        ({"data": {"tasks": {"task0": {"pth": "x"}}}}, "unknown key 'data.tasks.task0.pth', did you mean 'path'"),
        ({"data": {"tasks": {"task0": "x"}, "limit": 0}}, "data.limit"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(
    family: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    # No file is looked at: the base is nowhere.
    with pytest.raises(RecipeError) as caught:
        mg.make_plan({**recipe_of(family), "base": "nowhere", **changes})
    assert said in str(caught.value)


def test_learning_and_activations_do_not_go_together(family: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="leave one of the two out"):
        mg.load_recipe({**recipe_of(family), "adapt": family["adapt"]})


def test_missing_inputs_leave_no_trace(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family)
    recipe["data"]["tasks"]["task1"] = str(tmp_path / "nowhere.jsonl")
    with pytest.raises(MergeometryError) as caught:
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert caught.value.model == "task1"
    assert list(tmp_path.iterdir()) == []


def test_plan_counts_what_running_the_models_takes(family: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe_of(family, "esm")))
    done = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["data"]
    assert [task["items"] for task in found["tasks"]] == [32] * 3
    _, moments = collected(recipe_of(family, "esm"), tmp_path / "moments")
    taken = sum(file.stat().st_size for file in (tmp_path / "moments").iterdir())
    assert taken <= found["scratch_bytes"] <= 1.5 * taken + 3 * len(moments.stored) * 5000
    assert found["seconds"] > 0 and found["memory_bytes"] > 6e8
    spoken = CliRunner().invoke(app, ["plan", str(path)])
    assert "32 unlabelled texts" in spoken.stdout and "scratch space" in spoken.stdout


@pytest.mark.suite
def test_real_experts_change_their_outputs_less_than_under_their_mean(tmp_path: Path) -> None:
    names = ("trec", "movie")
    tasks = {
        name: str(learning_models.save_texts(tmp_path / f"{name}.jsonl", load(name).train.take(32).texts))
        for name in names
    }
    given = {"base": str(backbone()), "models": [{"path": str(SHIPPED / name), "name": name} for name in names]}
    recipe = {**given, "method": {"name": "regmean", "shrinkage": 1.0}, "data": {"tasks": tasks}}
    _, moments = collected(recipe, tmp_path / "moments")
    mg.merge(recipe, tmp_path / "merged", workers=1)
    base, merged = models.loaded(Path(given["base"])), models.loaded(tmp_path / "merged")
    assert len(moments.stored) == 36
    changes = []
    for name, stored in moments.stored.items():
        taus = [delta_of(model["path"], name, base[name]).double() for model in given["models"]]

        def change(tau: Tensor, taus: list[Tensor] = taus, stored: Sequence[Tensor] = stored) -> float:
            """``sum_t ||X_t W^T - X_t W_t^T||^2 / rows`` by its moments."""
            return sum(float((((tau - own) @ G) * (tau - own)).sum()) for own, G in zip(taus, stored, strict=True))

        changes.append((change(merged[name].double() - base[name]), change(sum(taus) / len(taus))))  # type: ignore[arg-type]
    assert all(own < mean for own, mean in changes)
    assert sum(own for own, _ in changes) < 0.5 * sum(mean for _, mean in changes)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family with labelled texts to score on and unlabelled ones to run: `recipe.yaml` and `tasks.yaml`."""
    folder = tmp_path_factory.mktemp("compared")
    recipe = learning_models.family(folder)
    written(folder, recipe)
    tasks = json.loads((folder / "tasks.yaml").read_text())
    for task, learnt in zip(tasks["tasks"], recipe["adapt"]["tasks"], strict=True):
        task["unlabelled"] = Path(learnt["data"]).name
    (folder / "tasks.yaml").write_text(json.dumps(tasks))
    return folder


def test_a_comparison_scores_what_a_merge_writes(compared: Path, tmp_path: Path) -> None:
    recipe, tasks = compared / "recipe.yaml", compared / "tasks.yaml"
    found = mg.compare(recipe, "regmean, esm", tasks, output=tmp_path / "out", scales=[1.0], workers=1)
    given, judged = json.loads(recipe.read_text()), load_tasks(tasks)
    unlabelled = {task.name: str(task.unlabelled.path) for task in judged.tasks if task.unlabelled is not None}
    data = {"tasks": unlabelled, "encoder": judged.encoder.model_dump()}
    for row in found.rows:
        mg.merge({**given, "method": row.method, "data": data}, tmp_path / row.name, workers=1)
        assert evaluate(tmp_path / row.name, judged).tasks == pytest.approx(row.at_best.tasks)
    again = mg.compare(recipe, "regmean, esm", tasks, output=tmp_path / "out", scales=[1.0], workers=1)
    assert [row.at_best for row in again.rows] == [row.at_best for row in found.rows]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results"}


def test_a_comparison_without_inputs_says_which_are_missing(compared: Path, tmp_path: Path) -> None:
    recipe = compared / "recipe.yaml"
    tasks = json.loads((compared / "tasks.yaml").read_text())
    for task in tasks["tasks"]:
        for key in ("head", "validation", "test", "unlabelled"):
            task[key] = str(compared / task[key])
    del tasks["tasks"][0]["unlabelled"]
    tasks["tasks"][1]["test"] = str(tmp_path / "nowhere.jsonl")
    with pytest.raises(MismatchError) as caught:
        mg.compare(recipe, "average, regmean, esm", tasks, output=tmp_path / "out")
    said = str(caught.value)
    for method in ("regmean", "esm"):
        assert f"{method} merges by activations, and the tasks have no `unlabelled:` inputs for 'task0'" in said
    assert "nowhere.jsonl" in said
    assert not (tmp_path / "out").exists()


def test_layers_merged_in_order_see_the_merged_layers_before_them(tmp_path: Path) -> None:
    """By transformers alone: the queries' inputs of the second layer, behind the merged first layer and tables."""
    from transformers import AutoModel, AutoTokenizer

    family = learning_models.family(tmp_path)
    recipe = recipe_of(family, {"name": "regmean_plusplus", "shrinkage": 0.7}, scale=0.8)
    _, moments = collected(recipe, tmp_path / "moments")
    mg.merge(recipe, tmp_path / "merged", workers=1)
    merged, tokenizer = models.loaded(tmp_path / "merged"), AutoTokenizer.from_pretrained(family["base"])
    for task, path in enumerate(family["models"]):
        model = AutoModel.from_pretrained(path).eval()
        before = {name: weight for name, weight in merged.items() if "layer.1." not in name and "pooler" not in name}
        model.load_state_dict(before, strict=False)
        lines = Path(family["adapt"]["tasks"][task]["data"]).read_text("utf-8").splitlines()
        texts = [json.loads(lines[place * len(lines) // 32])["text"] for place in range(32)]
        with torch.no_grad():
            found = [model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True) for text in texts]
        rows = torch.cat([each.hidden_states[1][0].double() for each in found])
        stored = moments.stored["encoder.layer.1.attention.self.query.weight"]
        torch.testing.assert_close(stored[task], rows.mT @ rows / len(rows), rtol=1e-4, atol=1e-5)
    # And the merge is regmean's by these moments.
    base = models.loaded(Path(family["base"]))
    for name, stored in moments.stored.items():
        deltas = [delta_of(path, name, base[name]) for path in family["models"]]
        tau = mg.methods.RegMean(shrinkage=0.7).with_moments(list(stored))(deltas)
        torch.testing.assert_close(merged[name], base[name] + 0.8 * tau, rtol=1e-4, atol=1e-5)


def test_what_has_no_order_is_refused_for_merging_in_order(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(family, "regmean_plusplus", scale={"rule": "projection", "per": "model"})
    with pytest.raises(MergeometryError, match="needs its scale before the last layer"):
        collected(recipe, tmp_path / "moments")


@pytest.mark.parametrize(
    ("method", "ran"),
    [
        ("regmean", ["run_alone task0", "run_alone task1", "run_alone task2"]),
        pytest.param("regmean_plusplus", ["run_in_order task0"], marks=pytest.mark.suite),
    ],
)
def test_models_that_run_elsewhere_give_the_same_bytes(
    family: dict[str, Any], tmp_path: Path, method: str, ran: list[str]
) -> None:
    plan, there = mg.make_plan(recipe_of(family, method)), Elsewhere()
    merge_on_data(plan, tmp_path / "here", workers=1)
    merge_on_data(plan, tmp_path / "there", executor=there)
    assert models.weight_hashes(tmp_path / "here") == models.weight_hashes(tmp_path / "there")
    assert [one for one in there.ran if one.startswith("run_")] == ran
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
