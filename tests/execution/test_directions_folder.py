"""The folder of directions: where it may be, what a damaged one leaves, and comparisons that fill and use it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.comparison.merging import merge_jobs, merge_tensor
from mergeometry.comparison.scratch import create
from mergeometry.errors import OutputError, RecipeError
from mergeometry.execution.directions_folder import DirectionsFolder
from mergeometry.execution.directions_store import ENDING
from tests.helpers import models
from tests.helpers.commands import invoke

SHAPES = {"layer.0.dense.weight": (144, 136), "layer.1.dense.weight": (136, 130), "norm.weight": (30,)}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return models.write_family(tmp_path_factory.mktemp("family"), 2, shapes=SHAPES)


def spoil(known: Path) -> None:
    """Flip a bit of every file."""
    for path in known.rglob(f"*{ENDING}"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("place", ["out", "out/known", "base/known", "base", ".", "file", "link", "loop"])
def test_a_place_that_cannot_be_used_is_refused_by_plan_and_merge_before_anything_is_written(
    tmp_path: Path, place: str
) -> None:
    family = models.write_family(tmp_path, 2, shapes={"layer.0.dense.weight": (8, 6)})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"not apart from|cannot be kept"):
        mg.merge({**family, "method": "tsv_m"}, tmp_path / "out", directions=tmp_path / place)
    options = [value for model in family["models"] for value in ("--model", model)]
    said = invoke("plan", "--base", family["base"], *options, "--output", str(tmp_path / "out"),
                  "--directions", str(tmp_path / place))  # fmt: skip
    assert said.exit_code == 1 and ("not apart from" in said.stderr or "cannot be kept" in said.stderr)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("given", [{"directions": ""}, {"directions": "a\0b"}, {"directions_limit": "1GB"}])
def test_a_folder_without_a_name_and_a_limit_without_a_folder_are_refused(
    family: dict[str, Any], tmp_path: Path, given: dict[str, str]
) -> None:
    with pytest.raises(RecipeError, match=r"folder of directions has no name|no folder for them"):
        mg.merge({**family, "method": "tsv_m"}, tmp_path / "out", **given)


def test_what_a_pass_before_the_merge_finds_damaged_is_noted_and_shown_to_nobody(
    family: dict[str, Any], tmp_path: Path
) -> None:
    known, recipe = tmp_path / "known", {**family, "method": "tsv_m", "scale": {"rule": "projection"}}
    mg.merge(recipe, tmp_path / "first", directions=known, workers=1)
    spoil(known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = mg.merge(recipe, tmp_path / "second", directions=known, workers=1)
    noted = [note for note in run.warnings if "computed again" in note]
    assert len(noted) == 1 and noted[0].endswith("(8 times)")  # of two matrices: two task vectors, two polar factors
    assert not any("fell back" in note for note in run.warnings)
    assert models.weight_hashes(tmp_path / "first") == models.weight_hashes(tmp_path / "second")


def test_damaged_files_do_not_count_as_decompositions_that_fell_back(family: dict[str, Any], tmp_path: Path) -> None:
    known, recipe = tmp_path / "known", {**family, "method": "tsv_m"}
    mg.merge(recipe, tmp_path / "first", directions=known, workers=1)
    spoil(known)
    run = mg.merge(recipe, tmp_path / "second", directions=known, workers=1)
    assert any("computed again" in note for tensor in run.tensors for note in tensor.notes)
    assert not any("fell back" in note for note in run.warnings)


def test_a_comparison_fills_and_uses_the_folder_whatever_the_order_of_its_methods(
    family: dict[str, Any], tmp_path: Path
) -> None:
    known = tmp_path / "known"
    plans = [mg.make_plan({**family, "method": method}) for method in ("average", "tsv_m", "dc_merge")]

    def merged(limit: int) -> tuple[dict[str, bytes], list[str]]:
        folder = tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        jobs, sizes = merge_jobs(plans, folder, directions=DirectionsFolder(known, limit))
        create(sizes)
        done = [merge_tensor(job) for job in jobs]
        results = {path.name: path.read_bytes() for path in sizes}
        for path in sizes:
            path.unlink()
        return results, [note for one in done for note in one.notes]

    results, notes = merged(10**9)
    assert results and not notes
    files = {path: path.stat().st_ino for path in known.rglob(f"*{ENDING}")}
    assert len(files) == 2 * (2 + 2)  # per matrix two task vectors, and two polar factors that both methods share
    # A folder without room for as much again keeps what this comparison uses, and nothing is written twice.
    assert merged(sum(path.stat().st_size for path in files) * 5 // 4) == (results, [])
    assert {path: path.stat().st_ino for path in known.rglob(f"*{ENDING}")} == files
    spoil(known)
    again, notes = merged(10**9)
    assert again == results and len(notes) == len(files) and all("computed again" in note for note in notes)


def test_a_rule_for_layers_takes_spectra_that_are_known(family: dict[str, Any], tmp_path: Path) -> None:
    known = tmp_path / "known"
    recipe = {**family, "method": "average", "scale": {"rule": "larv"}}
    mg.merge(recipe, tmp_path / "plain", workers=1)
    mg.merge({**recipe, "method": "tsv_m"}, tmp_path / "first", directions=known, workers=1)
    files = {path: path.stat().st_ino for path in known.rglob(f"*{ENDING}")}
    assert len(files) == 2 * (2 + 2 + 3)  # per matrix two task vectors, two polar factors; spectra with the base's
    run = mg.merge({**recipe, "method": "tsv_m"}, tmp_path / "second", directions=known, workers=1)
    assert {path: path.stat().st_ino for path in known.rglob(f"*{ENDING}")} == files
    assert models.weight_hashes(tmp_path / "first") == models.weight_hashes(tmp_path / "second")
    scales = {tensor.name: tensor.scale for tensor in run.tensors}
    plain = mg.merge(recipe, tmp_path / "again", directions=known, workers=1)
    assert {tensor.name: tensor.scale for tensor in plain.tensors} == scales
    assert models.weight_hashes(tmp_path / "plain") == models.weight_hashes(tmp_path / "again")
