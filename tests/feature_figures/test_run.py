"""Figures on inputs are those that transformers itself gives, of merged model, experts and base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor

import mergeometry as mg
from mergeometry.errors import DataError, MismatchError, RecipeError
from mergeometry.feature_figures.report import figures_of_output
from mergeometry.inspection.on_inputs import ModelOnInputs, OnInputs
from tests.helpers import feature_reference as reference
from tests.helpers import learning_models
from tests.helpers.learning_recipes import QUICK, pooled_by

CLASSES = (3, 4)
COUNT = 20


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("family")
    recipe = learning_models.family(folder, CLASSES, COUNT)
    for number, classes in enumerate(CLASSES):
        texts = texts_of(recipe, number)
        rows = [{"text": text, "label": place % classes} for place, text in enumerate(texts)]
        (folder / f"labelled{number}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {**recipe, "folder": folder}


@pytest.fixture(scope="module")
def merged(family: dict[str, Any]) -> Path:
    output = family["folder"] / "merged"
    mg.merge(base=family["base"], models=family["models"], method="tsv_m", output=output, workers=1)
    return output


def texts_of(recipe: dict[str, Any], number: int) -> list[str]:
    return [
        json.loads(line)["text"] for line in Path(recipe["adapt"]["tasks"][number]["data"]).read_text().splitlines()
    ]


def tasks_of(family: dict[str, Any], **changes: Any) -> dict[str, Any]:
    tasks = [{**task, **changes} for task in family["adapt"]["tasks"]]
    return {"encoder": {"kind": "text"}, "tasks": tasks}


def features_by(folder: str | Path, family: dict[str, Any], number: int) -> Tensor:
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(family["base"])
    return pooled_by(model, tokenizer, texts_of(family, number))


def logits_by(features: Tensor, family: dict[str, Any], number: int) -> Tensor:
    head = safetensors.torch.load_file(family["adapt"]["tasks"][number]["head"])
    return features @ head["weight"].T + head["bias"]


def entropy(logits: Tensor) -> float:
    chances = logits.double().softmax(dim=-1)
    return float(-(chances * chances.log()).sum(dim=-1).mean())


def of_merged(figures: OnInputs, place: int) -> ModelOnInputs:
    found = figures.tasks[place].merged
    assert found is not None
    return found


def test_every_figure_is_that_of_transformers_and_the_papers(family: dict[str, Any], merged: Path) -> None:
    found = mg.Run.read(merged).report(data=tasks_of(family), workers=1)
    figures = found.on_inputs
    assert figures is not None and [task.name for task in figures.tasks] == ["task0", "task1"]
    for number, task in enumerate(figures.tasks):
        features = {
            "base": features_by(family["base"], family, number),
            "expert": features_by(family["models"][number], family, number),
            "merged": features_by(merged, family, number),
        }
        logits = {name: logits_by(one, family, number) for name, one in features.items()}
        predicted = {name: one.argmax(dim=1) for name, one in logits.items()}
        assert (task.kind, task.inputs, task.rows, task.classes) == ("classes", COUNT, COUNT, CLASSES[number])
        assert task.grouped_by == "predictions"
        for name, own_features in features.items():
            own: ModelOnInputs = getattr(task, name)
            assert own.entropy == pytest.approx(entropy(logits[name]), rel=1e-4)
            head = safetensors.torch.load_file(family["adapt"]["tasks"][number]["head"])["weight"]
            if own.collapse is not None:
                expected = reference.collapse(own_features, predicted[name], head, predicted[name])
                kept = {key: getattr(own.collapse, key) for key in expected}
                assert {key: value for key, value in kept.items() if value is not None} == pytest.approx(
                    {key: expected[key] for key, value in kept.items() if value is not None}, rel=1e-3, abs=1e-6
                )
            if name == "expert":
                assert own.agreement is None and own.cka is None
                continue
            assert own.agreement is not None
            equal = float((predicted[name] == predicted["expert"]).double().mean())
            assert own.agreement.value == equal and own.agreement.low <= equal <= own.agreement.high
            assert own.cka == pytest.approx(reference.linear_cka(own_features, features["expert"]), rel=1e-4)
            assert own.cka is not None and own.cka_unbiased is not None and -1 < own.cka_unbiased < own.cka
            assert len(own.layers) == 2 and own.layers[-1] == pytest.approx(own.cka_unbiased, abs=1e-4)
    assert any("On your inputs the merged model predicts" in sentence.text for sentence in found.verdict)
    assert "On your inputs" in found._repr_html_()


@pytest.mark.suite
def test_a_merge_of_one_model_agrees_with_it_in_everything(family: dict[str, Any]) -> None:
    output = family["folder"] / "alone"
    recipe = {"base": family["base"], "models": family["models"][:1], "method": "task_arithmetic"}
    mg.merge(recipe, output, workers=1)
    one = tasks_of(family)["tasks"][:1]
    own = of_merged(figures_of_output(output, {"tasks": one}, limit=12), 0)
    assert own.agreement is not None and own.agreement.value == 1 and own.agreement.low > 0.7
    assert own.cka == pytest.approx(1) and own.layers == pytest.approx([1, 1])


@pytest.mark.suite
def test_labels_give_accuracies_and_classes(family: dict[str, Any]) -> None:
    tasks = tasks_of(family)
    for number, task in enumerate(tasks["tasks"]):
        task["data"] = {"path": str(family["folder"] / f"labelled{number}.jsonl"), "label": "label"}
    found = mg.inspect(base=family["base"], models=family["models"], tasks=tasks, limit=16, workers=1).on_inputs
    assert found is not None
    for number, task in enumerate(found.tasks):
        assert task.grouped_by == "labels" and task.inputs == 16 and task.merged is None
        logits = logits_by(features_by(family["models"][number], family, number), family, number)
        assert task.expert.collapse is not None and task.expert.collapse.classes == CLASSES[number]
        assert task.expert.accuracy is not None and task.base.accuracy is not None and task.base.agreement is not None
        right = logits.argmax(dim=1) == torch.arange(COUNT) % CLASSES[number]
        assert abs(task.expert.accuracy - float(right.double().mean())) <= 4 / 16, "16 of the 20 texts"
        assert abs(task.expert.accuracy - task.base.accuracy) <= 1 - task.base.agreement.value + 1e-9
    assert any("16 of 20" in note for note in found.notes)


def test_without_a_head_features_alone_are_compared(family: dict[str, Any], merged: Path) -> None:
    tasks = tasks_of(family)
    del tasks["tasks"][0]["head"]
    found = figures_of_output(merged, tasks)
    own = of_merged(found, 0)
    assert (own.agreement, own.entropy, own.collapse) == (None, None, None) and own.cka is not None
    assert found.tasks[0].kind == "features" and any("head: FILE" in note for note in found.notes)


@pytest.mark.suite
def test_the_recipes_own_inputs_and_the_heads_that_it_learned(family: dict[str, Any], tmp_path: Path) -> None:
    given = {key: value for key, value in family.items() if key != "folder"}
    recipe = learning_models.with_settings(given, {**QUICK, "steps": 2}, method="mda", scale=0.4, seed=5)
    run = mg.merge(recipe, output=tmp_path / "out", workers=1)
    found = run.report(data="recipe", workers=1).on_inputs
    assert found is not None
    for number in range(len(CLASSES)):
        features, expert = (
            features_by(folder, family, number) for folder in (tmp_path / "out", family["models"][number])
        )
        place = tmp_path / "out" / "heads" / f"task{number}.safetensors"
        head = safetensors.torch.load_file(place)
        before = safetensors.torch.load_file(family["adapt"]["tasks"][number]["head"])
        assert not torch.allclose(head["weight"], before["weight"], atol=1e-3), "a rotation is in the head"
        logits = features @ head["weight"].T + head["bias"]
        own = of_merged(found, number)
        assert own.entropy == pytest.approx(entropy(logits), rel=1e-4)
        equal = logits.argmax(dim=1) == logits_by(expert, family, number).argmax(dim=1)
        assert own.agreement is not None and own.agreement.value == float(equal.double().mean())


def test_everything_wrong_is_said_at_once(family: dict[str, Any], merged: Path) -> None:
    tasks = tasks_of(family, head=str(family["folder"] / "gone.safetensors"))
    tasks["tasks"][1] = {"name": "tusk1", "data": family["adapt"]["tasks"][1]["data"]}
    with pytest.raises(MismatchError) as error:
        figures_of_output(merged, tasks)
    first, second = error.value.mismatches
    assert "'task0'" in first and "gone.safetensors" in first
    assert "'tusk1'" in second and "task1" in second
    with pytest.raises(RecipeError, match="no inputs: neither `adapt:` nor `data:`"):
        figures_of_output(merged, "recipe")
    with pytest.raises(RecipeError, match="it has no inputs: give `data`"):
        figures_of_output(merged, {"tasks": [{"name": "task0"}]})
    with pytest.raises(RecipeError, match="running the models would take about"):
        figures_of_output(merged, tasks_of(family), memory_limit="1MB")
    broken = learning_models.save_head(family["folder"] / "wide.safetensors", 3, 17, 0)
    with pytest.raises((DataError, MismatchError), match="17 features"):
        figures_of_output(merged, tasks_of(family, head=str(broken)))
