"""What `--overwrite` replaces: a folder that a merge wrote and nobody added to, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import OutputError
from mergeometry.sink import read_record
from tests.helpers import models
from tests.helpers.commands import invoke


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A family whose base has sidecars and modules, and a merge of it with heads."""
    folder = tmp_path_factory.mktemp("family")
    inputs = models.write_family(folder, 2)
    base = Path(inputs["base"])
    (base / "config.json").write_text('{"model_type": "bert"}')
    (base / "modules.json").write_text(
        json.dumps([{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}])
    )
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text("{}")
    for place in inputs["models"]:
        tensors = models.loaded(Path(place))
        models.write_model(Path(place), {**tensors, "classifier.weight": tensors["layer.1.norm.weight"][None] * 2})
    recipe = {**inputs, "method": "average", "heads": ["classifier.*"]}
    mg.merge(recipe, folder / "out", workers=1)
    return {"recipe": recipe, "out": folder / "out"}


@pytest.fixture
def out(merged: dict[str, Any], tmp_path: Path) -> Path:
    return shutil.copytree(merged["out"], tmp_path / "out")


def test_the_record_names_every_file_of_the_output(merged: dict[str, Any], out: Path) -> None:
    assert sorted(read_record(out).files) == sorted(models.file_hashes(out))
    assert "heads/task0.safetensors" in read_record(out).files and "1_Pooling/config.json" in read_record(out).files


def test_an_earlier_output_is_replaced_as_a_whole(merged: dict[str, Any], out: Path) -> None:
    (out / ".DS_Store").write_bytes(b"left by a file manager")
    before = models.weight_hashes(out)
    mg.merge({**merged["recipe"], "method": "task_arithmetic"}, out, workers=1, overwrite=True)
    assert models.weight_hashes(out) != before and not (out / ".DS_Store").exists()


def added(name: str) -> Callable[[Path], None]:
    def add(out: Path) -> None:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")

    return add


def linked(out: Path) -> None:
    (out / "data").symlink_to(out.parent)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (added("thesis.tex"), "thesis.tex"), (added("optimizer.pt"), "optimizer.pt"),
        (added("heads/mine.safetensors"), "heads/mine.safetensors"), (added(".git/HEAD"), ".git/HEAD"),
        (added("recipe.yaml"), "recipe.yaml"), (lambda out: (out / "empty").mkdir(), "empty"), (linked, "data"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "merge"])
def test_what_was_added_is_listed_and_kept(
    merged: dict[str, Any], out: Path, change: Any, named: str, command: str
) -> None:
    change(out)
    before = models.file_hashes(out)
    (out.parent / "r.yaml").write_text(json.dumps(merged["recipe"]))
    done = invoke(command, out.parent / "r.yaml", "--output", out, "--overwrite")
    assert done.exit_code == 1 and f"did not write, so it is not replaced: {named}" in done.output, done.output
    assert models.file_hashes(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["out", "r.yaml"]


def test_models_that_no_merge_wrote_are_not_replaced(merged: dict[str, Any], tmp_path: Path) -> None:
    """A zoo of models, a training run, and a record of something else."""
    zoo = models.write_model(tmp_path / "zoo", models.random_tensors(3)).parent
    with pytest.raises(OutputError, match="holds no run record"):
        mg.merge(merged["recipe"], zoo, workers=1, overwrite=True)
    run = models.write_model(tmp_path / "run", models.random_tensors(3))
    for text in ("", "{}", '{"schema": 99}', "[" * 10_000):
        (run / "mergeometry.json").write_text(text)
        with pytest.raises(OutputError, match="holds no run record"):
            mg.merge(merged["recipe"], run, workers=1, overwrite=True)
    assert (run / "model.safetensors").exists()


def test_a_hard_link_from_an_input_into_the_output_leaves_the_input_as_it_is(
    merged: dict[str, Any], out: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(merged["recipe"]["models"][0], tmp_path / "linked")
    (out / "model.safetensors").unlink()
    (out / "model.safetensors").hardlink_to(model / "model.safetensors")
    before = models.file_hashes(model)
    recipe = {**merged["recipe"], "models": [str(model), *merged["recipe"]["models"][1:]]}
    mg.merge(recipe, out, workers=1, overwrite=True)
    assert models.file_hashes(model) == before and not (out / "model.safetensors").samefile(model / "model.safetensors")


@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o666), (0o077, 0o600)])
def test_files_take_the_mode_that_the_umask_leaves(
    merged: dict[str, Any], tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        mg.merge(merged["recipe"], tmp_path / "out", workers=1)
    finally:
        os.umask(before)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in written} == {mode}


def test_an_output_of_somebody_else_is_refused_before_anything_is_computed(
    merged: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write to every folder, so that the answer of the system to anybody else is given here.
    monkeypatch.setattr(os, "access", lambda place, mode: (Path(place), mode) != (out, os.W_OK))
    computed: list[Any] = []
    with pytest.raises(OutputError, match="no right to write"):
        mg.merge(merged["recipe"], out, workers=1, overwrite=True, progress=computed.append)
    assert not computed


def test_what_appears_during_the_merge_is_not_lost(merged: dict[str, Any], out: Path) -> None:
    with pytest.raises(OutputError, match=r"did not write, so it is not replaced: notes\.txt"):
        mg.merge(merged["recipe"], out, workers=1, overwrite=True, progress=lambda _task: added("notes.txt")(out))
    assert (out / "notes.txt").read_text() == "mine" and (out / "model.safetensors").exists()


def test_an_input_is_neither_replaced_nor_written_into(merged: dict[str, Any], out: Path, tmp_path: Path) -> None:
    base = Path(merged["recipe"]["base"])
    before = models.file_hashes(base)
    for place in (base / "merged", base / "deeper" / "merged"):
        with pytest.raises(OutputError, match="lies in the folder of an input"):
            mg.merge(merged["recipe"], place, workers=1)
    (tmp_path / "linked").symlink_to(base)
    with pytest.raises(OutputError, match="lies in the folder of an input"):
        mg.merge(merged["recipe"], tmp_path / "linked" / "merged", workers=1)
    assert models.file_hashes(base) == before
    # A head of the earlier output that the new merge learns with is an input too.
    texts = tmp_path / "texts.txt"
    texts.write_text("one\ntwo\n")
    tasks = [
        {"name": f"task{number}", "data": str(texts), "head": str(out / "heads" / "task0.safetensors")}
        for number in range(2)
    ]
    learned = {**merged["recipe"], "method": "task_arithmetic", "adapt": {"tasks": tasks}}
    with pytest.raises(OutputError, match="would replace one of the inputs"):
        mg.merge(learned, out, workers=1, overwrite=True)
    assert mg.make_plan(learned).inputs[-1] == out / "heads" / "task0.safetensors"
