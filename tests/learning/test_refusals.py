"""What cannot be learned from is one clear error, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import DataError, MergeometryError, RecipeError
from mergeometry.learning import estimate
from tests.helpers.commands import invoke
from tests.helpers.learning_recipes import DISTILL, QUICK, bad_head, recipe_of, with_task


def text_file(folder: Path, content: str, name: str = "texts.jsonl") -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def image_folder(folder: Path) -> str:
    from PIL import Image

    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "one.png")
    return str(folder / "images")


Broken = Callable[[dict[str, Any], Path], dict[str, Any]]
BAD: dict[str, tuple[Broken, type[MergeometryError], str]] = {
    "head width": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=bad_head(folder, {"w": torch.ones(3, 15)})), QUICK),
        DataError, "takes 15 features, and the encoder gives 16",
    ),
    "one class": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=bad_head(folder, {"w": torch.ones(1, 16)})), QUICK),
        DataError, "the head has 1 class",
    ),
    "bias": (
        lambda inputs, folder: recipe_of(
            with_task(inputs, head=bad_head(folder, {"w": torch.ones(3, 16), "b": torch.ones(4)})), QUICK
        ),
        DataError, "no bias fits the weight's 3 classes",
    ),
    "no head": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=None), QUICK),
        DataError, "no head is given for task0",
    ),
    "no head to distill": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=None), {**DISTILL, "hidden": 0}),
        DataError, "no head is given for task0, so there are no predictions to distill",
    ),
    "a task without data": (
        lambda inputs, folder: recipe_of({**inputs, "adapt": {"tasks": inputs["adapt"]["tasks"][:2]}}, QUICK),
        RecipeError, "no data for 'task2'",
    ),
    "a misspelt task": (
        lambda inputs, folder: recipe_of(with_task(inputs, name="tsak0"), QUICK),
        RecipeError, "no model is named 'tsak0'.*task0",
    ),
    "a missing file": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=str(folder / "nowhere.jsonl")), QUICK),
        MergeometryError, "nowhere.jsonl",
    ),
    "a missing column": (
        lambda inputs, folder: recipe_of(
            with_task(inputs, data={"path": text_file(folder, '{"sentence": "w1 w2"}\n'), "column": "sentense"}), QUICK
        ),
        DataError, "sentense.*did you mean 'sentence'",
    ),
    "an empty file": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=text_file(folder, "")), QUICK),
        DataError, "texts.jsonl",
    ),
    "images for a text model": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=image_folder(folder)), QUICK),
        DataError, "images",
    ),
    "a method without parts": (
        lambda inputs, folder: recipe_of(inputs, QUICK, method="iso_c"),
        RecipeError, "iso_c has no part for each task",
    ),
    "another method without parts": (
        lambda inputs, folder: recipe_of(inputs, QUICK, tensors=[{"match": "*query.weight", "method": "iso_cts"}]),
        RecipeError, "iso_cts has no part for each task",
    ),
    "adamerging without data": (
        lambda inputs, folder: {**{k: v for k, v in inputs.items() if k != "adapt"}, "method": "adamerging"},
        RecipeError, "adamerging learns its coefficients.*no `adapt:` section",
    ),
    "the wrong kind of encoder": (
        lambda inputs, folder: recipe_of(inputs, {**QUICK, "encoder": {"kind": "causal"}}),
        MergeometryError, "alpha: 0|output layer|cannot build|not those that transformers runs",
    ),
    "an image encoder of texts": (
        lambda inputs, folder: recipe_of(inputs, {**QUICK, "encoder": {"kind": "image"}}),
        MergeometryError, "image",
    ),
    "an adapter of what is none": (
        lambda inputs, folder: recipe_of(inputs, QUICK, output={"adapter": True}),
        MergeometryError, "its update is not low-rank",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_clear_error(case: str, tuned: dict[str, Any], tmp_path: Path) -> None:
    change, kind, said = BAD[case]
    recipe = change(tuned, tmp_path)
    (tmp_path / "place").mkdir()
    with pytest.raises(kind, match=f"(?s){said}") as caught:
        mg.merge(recipe, tmp_path / "place" / "out", workers=1)
    assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 6000
    assert not list((tmp_path / "place").iterdir()), "something was written"
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    shown = invoke("merge", file, "--output", tmp_path / "place" / "out", "--workers", "1")
    assert shown.exit_code == 1 and "Traceback" not in shown.output


def test_a_machine_that_is_too_small(tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda _limit: 300_000_000)
    monkeypatch.setattr("mergeometry.learning.run.build_encoder", lambda *_: pytest.fail("the model was built first"))
    with pytest.raises(RecipeError, match=r"would take about 0\.\d GB of memory, and there are 0\.3 GB"):
        mg.merge(recipe_of(tuned, QUICK), tmp_path / "out", workers=1)
    assert not list(tmp_path.iterdir())
