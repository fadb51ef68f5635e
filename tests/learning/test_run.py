"""Runs of learning: repeated to the same bytes, stopped, resumed, alone at their output, and open about their data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import NumericalError, OutputError
from mergeometry.execution.run import Interrupted
from mergeometry.sink import StateFolder, read_record
from mergeometry.sink.target import learning_folder
from tests.helpers import models
from tests.helpers.learning_recipes import QUICK, bad_head, recipe_of, with_task
from tests.helpers.learning_runs import stopping_at


@pytest.mark.suite
def test_the_seed_decides(tuned: dict[str, Any], tmp_path: Path) -> None:
    runs = [
        mg.merge(recipe_of(tuned, QUICK, seed=seed), tmp_path / f"out{number}", workers=workers)
        for number, (seed, workers) in enumerate([(5, 1), (5, 2), (6, 1)])
    ]
    assert runs[0].digest == runs[1].digest != runs[2].digest
    for name in ("adapt/coefficients.safetensors", "adapt/curves.json", "heads/task0.safetensors"):
        first, second, other = ((tmp_path / f"out{number}" / name).read_bytes() for number in range(3))
        assert first == second != other, name


@pytest.fixture(scope="module")
def uninterrupted(tuned: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted") / "whole"
    mg.merge(recipe_of(tuned, QUICK), output, workers=1)
    return output


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_interrupted_merge_goes_on(tuned: dict[str, Any], uninterrupted: Path, tmp_path: Path, stop: int) -> None:
    recipe = recipe_of(tuned, QUICK)
    kept = tmp_path / ".out.mergeometry-learning" / "learning.safetensors"
    with pytest.raises(Interrupted, match=r"interrupted; nothing was published(.|\n)*--resume"):
        mg.merge(recipe, tmp_path / "out", workers=1, report=stopping_at(stop))
    assert not (tmp_path / "out").exists() and kept.exists()
    seen: list[int] = []
    again = mg.merge(recipe, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen == list(range((stop - 1) // 2 * 2 + 1, 7))
    assert again.digest == read_record(uninterrupted).digest and not kept.parent.exists()
    for name in ("adapt/coefficients.safetensors", "adapt/rotations.safetensors", "heads/task0.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_resuming_with_other_data_starts_anew_and_says_so(tuned: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(tuned, QUICK)
    with pytest.raises(Interrupted):
        mg.merge(recipe, tmp_path / "out", workers=1, report=stopping_at(5))
    seen: list[int] = []
    other = recipe_of(tuned, {**QUICK, "batch_size": 5})
    run = mg.merge(other, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen[0] == 0 and any("learning started over" in warning for warning in run.warnings)


def test_divergence_publishes_nothing_and_a_lower_rate_goes_on(tuned: dict[str, Any], tmp_path: Path) -> None:
    wild = recipe_of(tuned, {**QUICK, "learning_rate": 1e30})
    with pytest.raises(Interrupted):
        mg.merge(recipe_of(tuned, QUICK), tmp_path / "out", workers=1, report=stopping_at(4))
    with pytest.raises(NumericalError, match=r"not finite at step \d(.|\n)*lower adapt.learning_rate(.|\n)*step 2,"):
        mg.merge(wild, tmp_path / "out", workers=1, resume=True)
    assert not (tmp_path / "out").exists()
    seen: list[int] = []
    tame = recipe_of(tuned, {**QUICK, "learning_rate": 1e-3})
    run = mg.merge(tame, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen == [3, 4, 5, 6] and run.adapt is not None and run.adapt["steps"] == 6


def test_two_runs_never_share_an_output(tuned: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(tuned, QUICK)
    with (
        StateFolder(tmp_path / "out", learning_folder),
        pytest.raises(OutputError, match="another run is writing the same output"),
    ):
        mg.merge(recipe, tmp_path / "out", workers=1)
    mg.merge(recipe, tmp_path / "out", workers=1)
    with pytest.raises(OutputError, match="exists already"):
        mg.merge(recipe, tmp_path / "out", workers=1)
    before = (tmp_path / "out" / "mergeometry.json").read_bytes()
    mg.merge(recipe_of(tuned, {**QUICK, "steps": 2}), tmp_path / "out", workers=1, overwrite=True)
    assert (tmp_path / "out" / "mergeometry.json").read_bytes() != before


def test_more_classes_than_a_simplex_has_room_for(tuned: dict[str, Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    head = bad_head(tmp_path, {"weight": torch.randn(19, 16, generator=generator)})
    run = mg.merge(recipe_of(with_task(tuned, head=head), QUICK), tmp_path / "out", workers=1)
    assert any(
        "task0: 19 classes in 16 dimensions have no simplex" in note and "coherence" in note for note in run.warnings
    )
    assert models.loaded(tmp_path / "out" / "heads", "task0")["weight"].shape == (19, 16)


def test_classes_that_are_never_predicted_are_noted(tuned: dict[str, Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 16, generator=generator)
    head = bad_head(tmp_path, {"weight": weight, "bias": torch.tensor([0.0, 0.0, -1e3])})
    run = mg.merge(recipe_of(with_task(tuned, head=head), QUICK), tmp_path / "out", workers=1)
    assert any(re.match("task0: [12] of 3 classes are predicted for none", note) for note in run.warnings)
