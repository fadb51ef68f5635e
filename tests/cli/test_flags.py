"""Flags are a recipe's keys: alone they make one, beside a file they override it, and `plan` takes those of `merge`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from mergeometry.cli.merge import merge
from mergeometry.cli.plan import plan
from mergeometry.cli.recipes import DTYPES
from mergeometry.recipe.parts import OutputOptions
from mergeometry.sink import read_record
from tests.helpers import learning_models, models
from tests.helpers.commands import invoke
from tests.helpers.labelled_tasks import written


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Any]:
    return models.write_family(tmp_path, count=2)


def as_flags(family: dict[str, Any]) -> list[str]:
    return ["--base", family["base"], *(word for model in family["models"] for word in ("--model", model))]


def planned(*words: str | Path) -> dict[str, Any]:
    shown = invoke("plan", *words, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)["recipe"]


def test_flags_alone_merge_as_the_recipe_that_they_stand_for(family: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    weighted = [{"path": path, "weight": weight} for path, weight in zip(family["models"], (1, 0.5), strict=True)]
    recipe = {
        "base": family["base"], "models": weighted, "method": "tsv_m", "scale": 0.75, "other": "ties",
        "heads": ["temperature"], "output": {"dtype": "float64"},
    }  # fmt: skip
    file.write_text(json.dumps(recipe))
    flags = [
        "--weight", "1", "--weight", "0.5", "--method", "tsv_m", "--scale", "0.75", "--other", "ties",
        "--head", "temperature", "--dtype", "float64",
    ]  # fmt: skip
    by_file = invoke("merge", file, "--output", tmp_path / "by-file")
    by_flags = invoke("merge", *as_flags(family), *flags, "--output", tmp_path / "by-flags")
    assert (by_file.exit_code, by_flags.exit_code) == (0, 0), by_file.output + by_flags.output
    one, other = read_record(tmp_path / "by-file"), read_record(tmp_path / "by-flags")
    assert one.recipe == other.recipe and one.digest == other.digest
    assert planned(*as_flags(family), *flags) == one.recipe


def test_flags_override_a_file_and_set_overrides_both(
    family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "recipe.yaml"
    given = {"base": "../base", "models": ["../task0"], "method": {"name": "tsv_m", "rank": 2}, "heads": ["none.*"]}
    file.write_text(json.dumps(given))
    monkeypatch.chdir(tmp_path)
    changed = planned(
        file, "--base", "base", "--model", "task1", "--model", "task0", "--method", "dc_merge", "--scale", "auto",
        "--other", "{name: ties, density: 0.5}", "--head", "embed.*", "--head", "temp*", "--set", "method.rank=3",
        "--set", "seed=5",
    )  # fmt: skip
    assert [entry["path"] for entry in changed["models"]] == [str(tmp_path / "task1"), str(tmp_path / "task0")]
    assert changed["base"] == str(tmp_path / "base") and changed["seed"] == 5
    assert changed["method"] == {"name": "dc_merge", "rank": 3} and changed["other"]["density"] == 0.5
    assert changed["heads"] == ["embed.*", "temp*"] and changed["scale"]["per"] == "model"
    scaled = planned(file, "--head", "embed.*", "--scale", "{rule: projection, per: tensor, factor: 2}")
    assert scaled["scale"] == {"rule": "projection", "per": "tensor", "factor": 2.0}
    assert (
        scaled["method"] == given["method"] and planned(file, "--head", "embed.*", "--scale", "-0.5")["scale"] == -0.5
    )


def test_weights_by_place_and_by_name(family: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    entries = [{"path": family["models"][0], "name": "a=b"}, {"path": family["models"][1], "weight": 3}]
    file.write_text(json.dumps({"base": family["base"], "models": entries, "method": "average"}))

    def weights(*words: str | Path) -> list[float]:
        return [entry["weight"] for entry in planned(*words)["models"]]

    assert weights(file) == [1, 3]
    assert weights(file, "--weight", "0.25", "--weight", "-1e-1") == [0.25, -0.1]
    assert weights(file, "--weight", "a=b=0.5") == [0.5, 3]
    assert weights(*as_flags(family), "--method", "average", "--weight", "task1=0.5") == [1, 0.5]
    assert weights(file, "--weight", "task1=2", "--set", "models.1.weight=4") == [1, 4]
    for words, status, wanted in (
        (["--weight", "1"], 2, "--weight was given 1 times for 2 models (a=b, task1)"),
        (["--weight", "1", "--weight", "task1=2"], 2, "each name once"),
        (["--weight", "task1=1", "--weight", "task1=2"], 2, "each name once"),
        (["--weight", "tsk1=1"], 2, "no model is named 'tsk1', did you mean 'task1'?"),
        (["--weight", "1", "--weight", "much"], 1, "models.1.weight: Input should be a valid number"),
        (["--scale", "[1"], 1, "--scale [1: the YAML cannot be read"),
        (["--scale", "much"], 1, "scale: Input should be a valid number"),
        (["--dtype", "int8"], 1, "output.dtype: Input should be 'base', 'float64'"),
    ):
        shown = invoke("plan", file, *words)
        assert shown.exit_code == status and wanted in shown.output, (words, shown.output)


def test_plan_takes_what_merge_takes(family: dict[str, Any], tmp_path: Path) -> None:
    of_merge, of_plan = (set(inspect.signature(command).parameters) for command in (merge, plan))
    assert of_plan - of_merge == {"tensors"} and not of_merge - of_plan
    flags = [*as_flags(family), "--method", "ties", "--workers", "1", "--device", "cpu", "--executor", "local"]
    output = ["--output", str(tmp_path / "out"), "--resume", "--overwrite", "--quiet"]
    shown = invoke("plan", *flags, *output)
    assert shown.exit_code == 0 and not shown.output and not (tmp_path / "out").exists()
    assert invoke("merge", *flags, *output).exit_code == 0
    for words, status, wanted in (
        (["--output", str(tmp_path / "out")], 1, "the output exists already"),
        (["--output", family["base"], "--overwrite"], 1, "the output would replace one of the inputs"),
        (["--device", "tpu"], 2, "the devices are auto, cpu, cuda"),
        (["--device", "cuda:9"], 1, "--device cuda:9"),
        (["--executor", "slurm"], 2, "there is no executor 'slurm'; the executors are local and ray"),
        (["--address", "auto"], 2, "the local executor has no address"),
    ):
        shown = invoke("plan", *flags[:8], *words)
        assert shown.exit_code == status and wanted in shown.output, (words, shown.output)


def test_many_mismatches_are_one_line_and_all_are_in_the_json(tmp_path: Path) -> None:
    shapes = {f"layer.{number}.dense.weight": (4, 3) for number in range(40)}
    family = models.write_family(tmp_path, count=7, shapes=shapes)
    half = {name: tensor.bfloat16() for name, tensor in models.loaded(tmp_path / "task0").items()}
    models.write_model(tmp_path / "task0", half)
    flags = [*as_flags(family), "--method", "average"]
    shown = invoke("plan", *flags)
    assert shown.exit_code == 1 and shown.stderr.count("BF16") == 1 and "or --dtype float32; likewise" in shown.stderr
    listed = invoke("plan", *flags, "--json")
    assert listed.exit_code == 1 and len(json.loads(listed.stdout)["mismatches"]) == 40
    prefixed = {f"bert.{name}": tensor for name, tensor in models.loaded(tmp_path / "base").items()}
    models.write_model(tmp_path / "base", prefixed)
    merged = invoke("merge", *flags, "--dtype", "float32", "--output", tmp_path / "out")
    assert merged.exit_code == 0, merged.output
    (note,) = [line for line in merged.stdout.splitlines() if "note: " in line]
    assert (
        "task0: names lack the base's 'bert.'; they are matched; likewise task1, task2, task3 and 3 more, 7 in all"
        in note
    )
    assert len(read_record(tmp_path / "out").warnings) == 7


def test_what_must_be_given_without_a_recipe(family: dict[str, Any], tmp_path: Path) -> None:
    shown = invoke("plan", "--base", family["base"], "--scale", "0.5")
    assert shown.exit_code == 2 and "give a RECIPE, or the models to merge" in " ".join(shown.output.split())
    shown = invoke("merge", *as_flags(family), "--method", "ties")
    assert shown.exit_code == 2 and "--output says where to write" in shown.output
    shown = invoke("compare", "--base", family["base"], "--tasks", tmp_path / "tasks.yaml")
    assert shown.exit_code == 2 and "give a RECIPE, or the models to merge" in " ".join(shown.output.split())


def test_help_names_every_choice_and_shows_commands() -> None:
    assert get_args(OutputOptions.model_fields["dtype"].annotation) == DTYPES
    shown = invoke("merge", "--help")
    assert shown.exit_code == 0
    assert "mergeometry merge recipe.yaml --method ties" in " ".join(shown.output.split())


def test_a_comparison_takes_the_flags_of_its_recipe(tmp_path: Path) -> None:
    recipe = learning_models.family(tmp_path)
    written(tmp_path, recipe)
    common = ["--methods", "tsv_m", "--tasks", str(tmp_path / "tasks.yaml"), "--plan", "--json"]
    by_file = invoke("compare", tmp_path / "recipe.yaml", *common)
    by_flags = invoke("compare", *as_flags(recipe), *common)
    assert (by_file.exit_code, by_flags.exit_code) == (0, 0), by_file.output + by_flags.output
    assert json.loads(by_file.stdout) == json.loads(by_flags.stdout)
    assert json.loads(by_file.stdout)["entries"] == ["tsv_m"]
    refused = invoke("compare", tmp_path / "recipe.yaml", "--other", "tsv_m", *common)
    assert refused.exit_code == 1 and "merges matrices only" in refused.output
