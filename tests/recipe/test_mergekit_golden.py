"""mergekit's own recipes, unchanged, against what mergekit 0.1.5 made of them.

`python -m benchmarks.studies.golden_recipes` writes the files. Random methods are there at density 1, where nothing is
drawn; below it they agree in distribution (see the end).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from benchmarks.studies import golden_recipes
from benchmarks.studies.golden_recipes import ARCHITECTURES, FOLDER, apart, in_folder, ours, recipes, with_tokenizers
from mergeometry.recipe.mergekit.methods import METHODS

TOLERANCE = 1e-5


SOME = ("all-linear", "all-slerp", "all-ties", "breadcrumbs-ties", "nuslerp-rows-without-base", "slices-linear")
"""Those that run each time; all run with the suite."""


def furthest(architecture: str, folder: Path, wanted: Sequence[Path]) -> dict[str, float]:
    with in_folder(architecture, folder) as outputs:
        assert outputs.keys() == {path.stem for path in recipes(architecture)}
        return {
            path.stem: apart(ours(path, folder / "out" / path.stem), outputs[path.stem], path.stem) for path in wanted
        }


def test_recipes_merge_to_what_mergekit_makes_of_them(tmp_path: Path) -> None:
    errors = furthest("llama", tmp_path, [FOLDER / f"{name}.yml" for name in SOME])
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.suite
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_recipes_on_all_architectures(architecture: str, tmp_path: Path) -> None:
    errors = furthest(architecture, tmp_path, recipes(architecture))
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.parametrize("name", ["base", "rules", "union"])
def test_vocabularies_that_differ_merge_to_mergekits_rows(name: str, tmp_path: Path) -> None:
    """Tables hold the same rows in the same order; rows of padding stand for no token, and are not compared."""
    tokens, rows = {"base": (5, 5), "rules": (7, 8), "union": (7, 7)}[name]
    with with_tokenizers(tmp_path) as outputs:
        merged, theirs = ours(FOLDER / "tokenizers" / f"{name}.yml", tmp_path / "out"), outputs[name]
        for table in ("lm_head.weight", "model.embed_tokens.weight"):
            assert len(merged[table]) == len(theirs[table]) == rows
            merged[table], theirs[table] = merged[table][:tokens], theirs[table][:tokens]
        assert apart(merged, theirs, name) <= TOLERANCE


def test_every_method_of_mergekits_has_a_recipe() -> None:
    methods = {
        line.split(": ")[1] for path in recipes("llama") for line in path.read_text().splitlines() if "merge_m" in line
    }
    assert methods == set(METHODS)


def test_no_recipe_copies_an_input() -> None:
    found, _ = golden_recipes.stored("llama")
    models = {name: found.pop(name) for name in golden_recipes.MODELS}
    for name, output in found.items():
        for label, model in models.items():
            same = output.keys() == model.keys() and all(torch.equal(output[key], model[key]) for key in model)
            assert not same, f"{name} is {label}"


def test_the_files_stay_small_and_say_where_mergekit_fails() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_000_000
    assert set(json.loads((FOLDER / "report.json").read_text())) == {"bert", "vit"}


@pytest.mark.suite
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_random_methods_keep_what_mergekits_keep_on_average(method: str, tmp_path: Path) -> None:
    """At density 0.5 half of the entries stay, of the large ones some more where ranks count, as much in sum as all."""
    given = {
        "merge_method": method,
        "base_model": "base",
        "models": [{"model": "a", "parameters": {"weight": 1, "density": 0.5}}],
        "parameters": {"normalize": True},
    }
    with in_folder("llama", tmp_path):
        base, tuned = (golden_recipes.load_file(f"{name}/model.safetensors") for name in ("base", "a"))
        kept, sums = [], []
        for seed in range(8):
            output = tmp_path / "out" / str(seed)
            mg.merge(mg.load_recipe(given, [f"seed={seed}"]), output=output, workers=1)
            merged = golden_recipes.load_file(output / "model.safetensors")
            for name in (name for name, tensor in base.items() if tensor.numel() > 16):
                before, after = tuned[name] - base[name], merged[name] - base[name]
                kept.append(float((after.abs() > 1e-6).sum() / (before.abs() > 1e-6).sum()))
                sums.append(float(after.abs().sum() / before.abs().sum()))
    assert sum(kept) / len(kept) == pytest.approx(0.56 if "della" in method else 0.5, abs=0.04)
    assert sums == pytest.approx([1.0] * len(sums), abs=1e-3)
