"""How mergekit's recipes become ours. What they merge to is held against mergekit's own outputs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mergeometry.cli.app import app
from mergeometry.errors import RecipeError
from mergeometry.recipe import load_recipe
from mergeometry.recipe.files import documents_of
from mergeometry.recipe.mergekit import Translation, translate
from mergeometry.recipe.yaml import parse_yaml

TIES = """\
# as in mergekit's own examples
models:
  - model: owner/one
    parameters:
      density: [1, 0.7, 0.1] # density gradient
      weight: 1.0
  - model: owner/two
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1] # weight gradient
  - model: owner/three
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: owner/base
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""
SLERP = """\
slices:
  - sources:
      - {model: owner/one, layer_range: [0, 32]}
      - {model: owner/two, layer_range: [0, 32]}
merge_method: slerp
base_model: owner/one
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {filter: mlp, value: [1, 0.5, 0]}
    - value: 0.5
dtype: bfloat16
"""


def translated(tmp_path: Path, text: str) -> Translation:
    path = tmp_path / "recipe.yml"
    path.write_text(text)
    ((given, lines),) = documents_of(path)
    return translate(given, lines)


def test_parameters_per_model_and_over_layers(tmp_path: Path) -> None:
    found = translated(tmp_path, TIES)
    assert found.recipe == {
        "base": "owner/base",
        "models": [
            {"path": "owner/one", "density": [1, 0.7, 0.1]},
            {"path": "owner/two", "weight": [0, 0.3, 0.7, 1], "density": 0.5},
            {"path": "owner/three", "weight": [{"match": "*mlp*", "value": 0.5}, {"value": 0}], "density": 0.33},
        ],
        "method": {"name": "ties", "normalize": True, "rescale": False},
        "output": {"dtype": "float16"},
    }
    assert found.notes == (
        "line 22: parameters.int8_mask: without effect, since a narrower mask saves memory and changes no result",
    )
    assert found.origins["models.2.weight.0"] == " (line 15: models.2.parameters.weight.0)"


def test_slices_become_stacks(tmp_path: Path) -> None:
    recipe = translated(tmp_path, SLERP).recipe
    one, two = ({"stack": [{"path": f"owner/{name}", "layers": [0, 32]}]} for name in ("one", "two"))
    assert (recipe["base"], recipe["models"]) == (one, [one, two])
    assert recipe["method"] == {
        "name": "slerp",
        "t": [
            {"match": "*self_attn*", "value": [0, 0.5, 1]},
            {"match": "*mlp*", "value": [1, 0.5, 0]},
            {"value": 0.5},
        ],
        "dot_threshold": 0.9995,
    }


def test_each_slice_has_parameters_of_its_own(tmp_path: Path) -> None:
    recipe = translated(
        tmp_path,
        """\
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 8], parameters: {weight: 0.2}}
      - {model: b, layer_range: [0, 8], parameters: {weight: [0.8, 0.9]}}
  - sources:
      - {model: a, layer_range: [4, 8]}
      - {model: b, layer_range: [4, 8]}
    parameters: {weight: 0.5}
""",
    ).recipe
    assert recipe["models"][1] == {
        "stack": [{"path": "b", "layers": [0, 8]}, {"path": "b", "layers": [4, 8]}],
        "weight": [
            {"layers": [0, 8], "value": [0.8, 0.9]},
            {"layers": [8, 12], "value": 0.5},
            {"layers": "before", "value": 0.8},
            {"layers": "after", "value": 0.5},
        ],
    }
    assert recipe["base"] == {"stack": recipe["models"][0]["stack"]}


def test_scopes_add_their_conditions_in_order(tmp_path: Path) -> None:
    recipe = translated(
        tmp_path,
        """\
merge_method: task_arithmetic
base_model: b
models:
  - {model: a, parameters: {weight: {filter: mlp, value: 0.1}}}
  - model: c
parameters:
  weight: [{filter: "*attn[", value: 0.2}, {value: 0.3}]
  lambda: 0.5
""",
    ).recipe
    shared = [{"match": "*[*]attn[[]*", "value": 0.2}, {"value": 0.3}]
    assert recipe["models"] == [
        {"path": "a", "weight": [{"match": "*mlp*", "value": 0.1}, *shared]},
        {"path": "c", "weight": shared},
    ]
    assert (recipe["method"], recipe["scale"]) == ({"name": "task_arithmetic", "normalize": False}, 0.5)


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("dare_ties", {"name": "dare_ties", "normalize": False, "rescale": "l1", "density": 1.0}),
        ("dare_linear", {"name": "dare", "normalize": False, "rescale": "l1", "density": 1.0}),
        ("breadcrumbs", {"name": "breadcrumbs", "normalize": False, "rescale": False, "density": 1.0, "gamma": 0.01}),
        ("della", {"name": "della", "normalize": True, "rescale": "l1", "density": 1.0, "epsilon": 0.15}),
    ],
)
def test_defaults_are_mergekits(tmp_path: Path, text: str, method: dict[str, Any]) -> None:
    recipe = translated(
        tmp_path,
        f"merge_method: {text}\nbase_model: b\nmodels: [{{model: a}}, {{model: b}}]\nparameters: {{weight: 1}}",
    ).recipe
    assert (recipe["method"], recipe["models"]) == (method, [{"path": "a"}])


def test_models_of_methods_without_a_base(tmp_path: Path) -> None:
    karcher = translated(tmp_path, "merge_method: karcher\nmodels: [{model: a}, {model: c}]").recipe
    assert (karcher["base"], [entry["path"] for entry in karcher["models"]]) == ("a", ["a", "c"])
    text = "merge_method: nuslerp\nmodels: [{model: a}, {model: c}]\nparameters: {weight: 1}"
    assert translated(tmp_path, text).recipe["method"] == {
        "name": "nuslerp", "row_wise": False, "flatten": True, "origin": "zero",
    }  # fmt: skip
    linear = translated(
        tmp_path, "merge_method: linear\nbase_model: b\nmodels: [{model: a}]\nparameters: {weight: 1}"
    ).recipe
    assert (linear["base"], [entry["path"] for entry in linear["models"]]) == ("b", ["a", "b"])


def test_references_to_revisions_and_adapters(tmp_path: Path) -> None:
    recipe = translated(
        tmp_path,
        """\
merge_method: task_arithmetic
base_model: {model: {path: o/base, revision: main}}
models:
  - model: o/base@main+o/adapter
  - model: {model: o/tuned, lora: {path: o/other, revision: v2}, override_architecture: Any}
parameters: {weight: 1, normalize: yes}
tokenizer: {source: o/base@main, tokens: {<s>: {source: {kind: model_token, model: o/tuned+o/other@v2, token: a}}}}
chat_template: auto
""",
    )
    assert recipe.recipe["base"] == "o/base@main"
    assert recipe.recipe["models"] == [{"path": "o/adapter"}, {"path": "o/tuned+o/other@v2", "name": "tuned"}]
    assert recipe.recipe["method"] == {"name": "task_arithmetic", "normalize": True}
    row = {"kind": "model_token", "model": "tuned", "token": "a"}
    assert recipe.recipe["tokenizer"] == {"source": "base", "tokens": {"<s>": {"source": row}}}
    assert recipe.recipe["chat_template"] == "auto"
    assert any("override_architecture: without effect" in note for note in recipe.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("merge_method: tise\nmodels: [{model: a}]", "line 1: merge_method: mergekit 0.1.5 has no method 'tise'"),
        ("merge_method: linear\nmodel: a", "line 2: model: unknown key, did you mean 'models'?"),
        ("merge_method: linear\nmodels:\n  - model: a\n    weight: 2", "line 4: models.0.weight: unknown key"),
        ("merge_method: linear\nmodels:\n  - {model: a}\n  - {model: a}", "'a' is among the inputs twice"),
        ("merge_method: linear\nmodels:\n  - {model: a}", "line 3: models.0: linear needs `weight` of 'a'"),
        ("merge_method: linear\nmodels:\n  - {model: a}\nslices:\n  - {}", "needs one of `models`, `slices`"),
        ("merge_method: ties\nmodels:\n  - model: a", "line 2: models: ties needs a `base_model`"),
        (
            "merge_method: ties\nbase_model: b\nmodels:\n  - model: a\n    parameters:\n      wieght: 1",
            "line 6: models.0.parameters.wieght: ties has no parameter 'wieght', which mergekit would ignore",
        ),
        (
            "merge_method: ties\nbase_model: b\nmodels:\n  - model: a\n    parameters: {normalize: false, weight: 1}",
            "line 5: models.0.parameters.normalize: 'normalize' holds for all models, so mergekit ignores it",
        ),
        ("merge_method: slerp\nbase_model: b\nmodels: [{model: a}, {model: c}]", "slerp merges 2 models"),
        ("merge_method: slerp\nbase_model: b\nmodels: [{model: a}]", "slerp needs `t`, which has no default"),
        (
            "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: [{filtre: x, value: 1}]}",
            "line 4: models.0.parameters.weight.0.filtre: unknown key, did you mean 'filter'?",
        ),
        (
            "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: [1, [2]]}",
            "line 4: models.0.parameters.weight.1: weight is a number, got [2]",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1, normalize: [true, false]}",
            "line 3: parameters.normalize: normalize is true or false, and has no gradient",
        ),
        (
            "merge_method: linear\nmodules:\n  text_decoder:\n    models: [{model: a}]",
            "line 3: modules.text_decoder: only the module `default` is read",
        ),
        (
            "merge_method: linear\nslices:\n  - sources:\n      - {model: a, layer_range: [4, 2]}",
            "line 4: slices.0.sources.0.layer_range: [4, 2] are no layers",
        ),
        (
            "merge_method: linear\nslices:\n  - sources:\n"
            "      - {model: a, layer_range: [0, 2]}\n      - {model: c, layer_range: [0, 3]}",
            "line 3: slices.0.sources: the sources have 2 and 3 layers each",
        ),
        ("merge_method: linear\nmodels: [{model: a+b+c}]", "'a+b+c' names more than one adapter"),
        ("merge_method: karcher\nmodels: [{model: a}]\ndtype: int8", "line 3: dtype: 'int8' is no precision"),
        ("merge_method: karcher\nmodels: [{model: a}]\nchat_template: llama3", "chat_template: mergekit's own"),
        ("merge_method: karcher\nmodels: [{model: a}]\ntokenizer_source: z", "tokenizer_source: 'z' is none of"),
        ("merge_method: karcher\nmodels: &x [{model: a}]\nparameters: *x", "must not use YAML aliases"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name_and_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(_written(tmp_path, text))
    assert said in str(caught.value)
    assert "recipe.yml" in str(caught.value)


def test_a_mapping_has_keys_but_no_lines() -> None:
    with pytest.raises(RecipeError, match=r"^models\.0\.wieght: unknown key"):
        load_recipe({"merge_method": "linear", "models": [{"model": "a", "wieght": 1}]})


def test_paths_are_relative_to_the_current_folder_as_mergekits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "a").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: a}]\nparameters: {weight: 1}"
    recipe = load_recipe(_written(tmp_path, text))
    assert [recipe.base, recipe.models[0].path] == [str(tmp_path / "b"), str(tmp_path / "here" / "a")]


@pytest.mark.parametrize("text", [TIES, SLERP], ids=["ties", "slerp"])
def test_import_recipe_prints_the_same_merge(tmp_path: Path, text: str) -> None:
    path, written = _written(tmp_path, text), tmp_path / "own.yaml"
    printed = CliRunner().invoke(app, ["import-recipe", str(path)])
    assert printed.exit_code == 0
    assert CliRunner().invoke(app, ["import-recipe", str(path), "--output", str(written)]).exit_code == 0
    assert parse_yaml(printed.stdout) == parse_yaml(written.read_text()) == translated(tmp_path, text).recipe
    assert load_recipe(written).canonical() == load_recipe(path).canonical()
    assert CliRunner().invoke(app, ["import-recipe", str(path), "--output", str(written)]).exit_code == 1
    assert "no mergekit recipe" in CliRunner().invoke(app, ["import-recipe", str(written)]).stderr


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yml"
    path.write_text(text)
    return path
