"""A merge of single files, as Stable Diffusion checkpoints are, into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import OutputError, RecipeError
from mergeometry.sink import OutputTensor, RunRecord, SlotWriter, Staging, Totals, lay_out, read_record
from mergeometry.sink.record import encode_record
from tests.helpers.commands import invoke
from tests.helpers.models import random_tensors, tuned, write_family, write_model
from tests.helpers.sink_run import Died, FaultyFileSystem


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    base = random_tensors(0)
    for name, tensors in (("base", base), ("first", tuned(base, 1)), ("second", tuned(base, 2))):
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
    models = [str(tmp_path / f"{name}.safetensors") for name in ("first", "second")]
    return {"base": str(tmp_path / "base.safetensors"), "models": models, "method": "average"}


def test_one_file_with_its_record_next_to_it(inputs: dict[str, Any], tmp_path: Path) -> None:
    recipe = mg.load_recipe({**inputs, "output": {"shard_size": "1MB"}})
    record = mg.merge(recipe, tmp_path / "out" / "merged.safetensors")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "merged.mergeometry.json",
        "merged.safetensors",
    ]
    mg.merge(recipe, tmp_path / "folder")
    assert (tmp_path / "out" / "merged.safetensors").read_bytes() == (
        tmp_path / "folder" / "model.safetensors"
    ).read_bytes()
    assert read_record(tmp_path / "out" / "merged.safetensors") == record
    assert record.files == ("merged.mergeometry.json", "merged.safetensors")


def test_only_a_merge_is_replaced(inputs: dict[str, Any], tmp_path: Path) -> None:
    recipe, target = mg.load_recipe(inputs), tmp_path / "merged.safetensors"
    mg.merge(recipe, target)
    with pytest.raises(OutputError, match="exists already"):
        mg.merge(recipe, target)
    mg.merge(mg.load_recipe({**inputs, "scale": 0.5}), target, overwrite=True)
    base = random_tensors(0)["embed.weight"]
    both = [tuned(random_tensors(0), seed)["embed.weight"] for seed in (1, 2)]
    merged = safetensors.torch.load_file(target)["embed.weight"]
    torch.testing.assert_close(merged, base + 0.5 * ((both[0] + both[1]) / 2 - base))
    (tmp_path / "merged.mergeometry.json").unlink()
    with pytest.raises(OutputError, match="no run record"):
        mg.merge(recipe, target, overwrite=True)
    with pytest.raises(OutputError, match="one of the inputs"):
        mg.merge(recipe, tmp_path / "first.safetensors", overwrite=True)


def test_what_needs_a_folder_is_refused(inputs: dict[str, Any], tmp_path: Path) -> None:
    family = write_family(tmp_path / "family", count=1)
    with pytest.raises(OutputError, match="the base is a folder"):
        mg.merge(mg.load_recipe({**family, "method": "average"}), tmp_path / "x.safetensors")
    write_model(tmp_path / "other", {**tuned(random_tensors(0), 3), "head.weight": torch.ones(2, 2)})
    given = {**inputs, "models": [str(tmp_path / "other")], "heads": ["head.*"]}
    with pytest.raises(RecipeError, match="heads: the output is one file"):
        mg.merge(mg.load_recipe(given), tmp_path / "x.safetensors")
    flags = ["--base", inputs["base"], "--model", inputs["models"][0], "--method", "average"]
    result = invoke("plan", *flags, "--output", tmp_path / "x.safetensors", "--json")
    assert '"name": "x.safetensors"' in result.stdout
    assert not (tmp_path / "x.safetensors").exists()


def write(target: Path, value: float, files: FaultyFileSystem, *, overwrite: bool = False) -> None:
    layout = lay_out([OutputTensor("x", "F32", (5,))], shard_size=1 << 20, stem=target.stem)
    with Staging(target, overwrite=overwrite, files=files) as staging:
        staging.create(layout, "same recipe")
        with SlotWriter(staging.folder, files=files) as writer:
            staging.journal("x", {"digest": writer.write(layout.slots["x"], torch.full((5,), value))})
        staging.write_file("out.mergeometry.json", RECORD)
        staging.publish()


RECORD = encode_record(RunRecord({}, "f", "s", {}, (), (), (), Totals(0.0, 0, 0, 0)))


@pytest.mark.parametrize("overwrite", [False, True])
def test_death_at_every_operation_leaves_the_old_file_or_the_new(tmp_path: Path, overwrite: bool) -> None:
    place = done = 0
    while not done:
        target = tmp_path / str(place) / "out.safetensors"
        target.parent.mkdir()
        if overwrite:
            write(target, 1.0, FaultyFileSystem())
        try:
            write(target, 2.0, FaultyFileSystem(place), overwrite=overwrite)
            done = 1
        except Died:
            left = safetensors.torch.load_file(target)["x"] if target.exists() else None
            assert left is not None or not overwrite
            assert left is None or left.tolist() in ([1.0] * 5, [2.0] * 5)
            write(target, 2.0, FaultyFileSystem(), overwrite=overwrite or left is not None)
        assert safetensors.torch.load_file(target)["x"].tolist() == [2.0] * 5
        assert sorted(path.name for path in target.parent.iterdir()) == ["out.mergeometry.json", "out.safetensors"]
        place += 1
    assert place > 10
