"""Directions that an earlier merge left: the same bytes with and without them, and nothing damaged is taken."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import OutputError, RecipeError
from mergeometry.execution import directions_store
from mergeometry.execution.directions_folder import DirectionsFolder, kept_in
from mergeometry.execution.directions_store import ENDING
from tests.helpers import models
from tests.helpers.commands import invoke

SHAPES = {
    "layer.0.dense.weight": (192, 144),
    "layer.1.dense.weight": (144, 160),
    "small.dense.weight": (40, 30),
    "norm.weight": (30,),
}
METHODS = (
    {"name": "tsv_m"},
    {"name": "dc_merge"},
    {"name": "own_blocks"},
    {"name": "mda", "rank": 0.6},  # side by side the directions are wider than they are long
    {"name": "mda", "simplex": "tasks", "sides": "left"},
)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    given = models.write_family(tmp_path_factory.mktemp("family"), 3, shapes=SHAPES)
    # One model whose update has few directions, so that fewer are there than are asked for.
    place = Path(given["models"][2])
    base, tensors = models.loaded(Path(given["base"])), models.loaded(place)
    thin = torch.randn(192, 2, generator=torch.Generator().manual_seed(5))
    tensors["layer.0.dense.weight"] = base["layer.0.dense.weight"] + 0.01 * thin @ thin[:144].mT
    models.write_model(place, tensors)
    return given


def merged(recipe: dict[str, Any], output: Path, known: Path | None = None, **options: Any) -> tuple[Any, mg.Run]:
    run = mg.merge(recipe, output, directions=known, overwrite=True, **options)
    return models.weight_hashes(output), run


def entries(known: Path) -> list[Path]:
    return sorted(known.rglob(f"*{ENDING}"))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_the_bytes_are_the_same_with_and_without_what_is_known(
    family: dict[str, Any], tmp_path: Path, method: dict[str, Any]
) -> None:
    known, recipe = tmp_path / "known", {**family, "method": method}
    plain, _ = merged(recipe, tmp_path / "plain")
    first, one = merged(recipe, tmp_path / "out", known, workers=1)
    # Other processes once: starting them takes longer than all else.
    second, other = merged(recipe, tmp_path / "out", known, workers=2 if method == METHODS[0] else 1)
    assert plain == first == second
    assert one.decisions["directions"]["known"] == 0 < one.decisions["directions"]["asked"]
    # The update of two directions is kept as well, or decomposed each time: it never counts as something else.
    assert other.decisions["directions"]["known"] >= other.decisions["directions"]["asked"] - 1


def test_a_second_recipe_takes_what_the_first_left(family: dict[str, Any], tmp_path: Path) -> None:
    known = tmp_path / "known"
    merged({**family, "method": "tsv_m"}, tmp_path / "out", known)
    files = {path: path.read_bytes() for path in entries(known)}
    weights = [{"path": path, "weight": weight} for path, weight in zip(family["models"], (0.5, 2, -1), strict=True)]
    changed = {**family, "models": weights, "method": "tsv_m", "scale": {"rule": "projection", "per": "model"}}
    for recipe in ({**family, "method": "dc_merge"}, changed):
        plain, _ = merged(recipe, tmp_path / "plain")
        found, run = merged(recipe, tmp_path / "out", known)
        assert found == plain and run.decisions["directions"]["known"] > 0
    assert all(path.read_bytes() == data for path, data in files.items())


def test_a_plan_says_what_is_known(family: dict[str, Any], tmp_path: Path) -> None:
    known = tmp_path / "known"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**family, "method": "tsv_m"}))
    arguments = ["plan", str(recipe), "--directions", str(known), "--json"]
    before = json.loads(invoke(*arguments).stdout)
    assert before["directions"]["known"] == 0 and before["directions"]["of"] == 2 and not known.exists()
    merged({**family, "method": "tsv_m"}, tmp_path / "out", known)
    after = json.loads(invoke(*arguments).stdout)
    assert after["directions"]["known"] == 2 and after["seconds"] <= before["seconds"]
    entries(known)[0].unlink()
    assert json.loads(invoke(*arguments).stdout)["directions"]["known"] == 1
    assert "of 2 tensors that take them" in invoke(*arguments[:-1]).stdout


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "rename", "link", "pipe"])
def test_what_is_damaged_is_computed_again(family: dict[str, Any], tmp_path: Path, damage: str) -> None:
    known, recipe = tmp_path / "known", {**family, "method": "tsv_m"}
    plain, _ = merged(recipe, tmp_path / "out", known)
    found = entries(known)
    whole = found[0].read_bytes()
    if damage == "flip":
        found[0].write_bytes(whole[:-4000] + bytes([whole[-4000] ^ 1]) + whole[-3999:])
    elif damage == "cut":
        found[0].write_bytes(whole[:-1])
    elif damage == "longer":
        found[0].write_bytes(whole + b"\0")
    elif damage == "rename":
        shutil.copyfile(found[1], found[0])
    else:
        found[0].unlink()
        found[0].symlink_to(found[1]) if damage == "link" else os.mkfifo(found[0])
    again, run = merged(recipe, tmp_path / "out", known)
    assert again == plain and found[0].read_bytes() == whole and not found[0].is_symlink()
    assert any("computed again" in note for tensor in run.tensors for note in tensor.notes)


def test_every_flipped_byte_of_the_head_is_found(family: dict[str, Any], tmp_path: Path) -> None:
    from mergeometry.execution.directions_store import DamagedError, DirectionsStore

    store = DirectionsStore(tmp_path, "one")
    matrices = [torch.arange(6.0).double().view(2, 3), torch.arange(4.0).double().view(2, 2).mT]
    key = store.key("some", (2, 3), b"bytes")
    store.write(key, matrices)
    found = store.read(key, [(2, 3), (2, 2)])
    assert found is not None and all(torch.equal(one, other) for one, other in zip(found, matrices, strict=True))
    assert [one.is_contiguous() for one in found] == [True, False]
    assert store.read(store.key("some", (2, 3), b"other bytes"), [(2, 3), (2, 2)]) is None
    assert DirectionsStore(tmp_path, "two").key("some", (2, 3), b"bytes") != key
    (place,) = entries(tmp_path)
    whole = place.read_bytes()
    for at in range(len(whole)):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :])
        with pytest.raises(DamagedError):
            store.read(key, [(2, 3), (2, 2)])
    with pytest.raises(DamagedError):
        store.read(key, [(2, 2), (2, 2)])


def test_a_folder_that_others_may_write_in_or_that_holds_other_files_is_refused(
    family: dict[str, Any], tmp_path: Path
) -> None:
    recipe, known = {**family, "method": "tsv_m"}, tmp_path / "known"
    known.mkdir(mode=0o700)
    known.chmod(0o777)
    with pytest.raises(OutputError, match="others may write"):
        merged(recipe, tmp_path / "out", known)
    known.chmod(0o700)
    (known / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else: thesis"):
        merged(recipe, tmp_path / "out", known)
    assert not (tmp_path / "out").exists() and [one.name for one in known.iterdir()] == ["thesis.txt"]
    with pytest.raises(RecipeError, match="limit of directions"):
        mg.merge(recipe, tmp_path / "out", directions=known, directions_limit="many")


def test_the_files_of_a_folder_stay_within_its_limit(family: dict[str, Any], tmp_path: Path) -> None:
    known, recipe = tmp_path / "known", {**family, "method": "tsv_m"}
    plain, _ = merged(recipe, tmp_path / "out", known, directions_limit=1000)
    assert not entries(known)
    merged(recipe, tmp_path / "out", known)
    size, old = sum(path.stat().st_size for path in known.rglob("*") if path.is_file()), entries(known)
    for path in known.rglob(f"*{ENDING}"):
        os.utime(path, (1, 1))
    # Room for one recipe alone: what was used longest ago makes room, and what is known of this one stays.
    found, run = merged({**recipe, "method": {"name": "tsv_m", "rank": 0.3}}, tmp_path / "out", known,
                        directions_limit=size * 3 // 2)  # fmt: skip
    assert found and run.decisions["directions"]["tensors_without_room"] == 0
    assert sum(path.stat().st_size for path in known.rglob("*") if path.is_file()) <= size * 3 // 2
    assert any(not path.exists() for path in old)
    again, _ = merged(recipe, tmp_path / "out", known)
    assert again == plain


def test_a_disk_that_refuses_leaves_a_note_and_the_merge(
    family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergeometry.execution.directions_store import DirectionsStore

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DirectionsStore, "write", full)
    recipe = {**family, "method": "tsv_m"}
    plain, _ = merged(recipe, tmp_path / "plain")
    found, run = merged(recipe, tmp_path / "out", tmp_path / "known")
    assert found == plain
    assert any("No space left" in note for tensor in run.tensors for note in tensor.notes)


def test_openblas_that_is_told_its_processor_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for told in ("Haswell", "SkylakeX"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", told)
        directions_store.processor.cache_clear()
        found.append(directions_store.processor())
    directions_store.processor.cache_clear()
    assert found[0] != found[1]


def test_another_processor_or_version_takes_nothing(family: dict[str, Any], tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    store = DirectionsFolder(tmp_path / "known").store()
    one = store.key("directions", (2, 2), b"bytes")
    # Asked of the machine that computes: a worker of a cluster may have another processor than the driver.
    monkeypatch.setattr("mergeometry.execution.directions_store.processor", lambda: "another")
    assert store.key("directions", (2, 2), b"bytes") != one
    monkeypatch.undo()
    assert (
        store.key("directions", (2, 2), b"bytes")
        == one
        != replace(store, identity="0").key("directions", (2, 2), b"bytes")
    )
    assert kept_in(None, []).store is None
