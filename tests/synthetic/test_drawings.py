"""Images that are drawn at random: the same for a seed, of every kind, and learned from through the command line."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mergeometry import merge
from mergeometry.errors import DataError
from mergeometry.sink import read_record
from mergeometry.synthetic.drawings import KINDS, SIDE, drawings
from tests.helpers import encoder_models, learning_models
from tests.helpers.commands import invoke

MADE = 12


def pixels_of(file: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(file)))


def test_a_seed_decides_every_image_and_a_larger_draw_begins_with_a_smaller() -> None:
    many = drawings(8, 3)
    assert len(set(many)) == 8 and not set(many) & set(drawings(8, 4))
    drawings.cache_clear()
    assert drawings(5, 3) == many[:5]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_size_and_something_to_see(kind: Any) -> None:
    for seed in range(6):
        drawn = kind(np.random.default_rng(seed))
        assert drawn.shape == (SIDE, SIDE, 3) and drawn.dtype == np.uint8
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1


def test_writing_is_on_a_plain_ground_and_shapes_cover_each_other() -> None:
    writing, shapes, clouds = (pixels_of(drawings(4, 0)[place]).reshape(-1, 3) for place in (2, 1, 0))
    assert np.unique(writing, axis=0, return_counts=True)[1].max() > len(writing) / 3
    assert 5 < len(np.unique(shapes // 8, axis=0)) < len(np.unique(clouds // 8, axis=0))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("images")
    model = encoder_models.made("vit")
    model.save_pretrained(folder / "base")
    encoder_models.save_processor(folder / "base")
    tasks = []
    for number, classes in enumerate((3, 4)):
        learning_models.save_tuned(model, folder / f"task{number}", number)
        head = learning_models.save_head(folder / f"head{number}.safetensors", classes, 16, number)
        tasks.append({"name": f"task{number}", "head": str(head)})
    adapt = {
        "data": {"synthetic": MADE}, "encoder": {"pooling": "first"}, "steps": 4, "check_every": 2, "batch_size": 4,
        "precision": "float32", "tasks": tasks,
    }  # fmt: skip
    models = [str(folder / f"task{number}") for number in range(2)]
    return {"base": str(folder / "base"), "models": models, "seed": 5, "adapt": adapt}


def test_an_image_model_learns_from_drawings(family: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(family))
    shown = " ".join(invoke("plan", file).output.split())
    assert f"{MADE} unlabelled images" in shown and "to be drawn at random" in shown
    for name in ("out", "again"):
        run = invoke("merge", file, "--output", tmp_path / name, "--workers", "1")
        assert run.exit_code == 0, run.output
    first, second = (read_record(tmp_path / name) for name in ("out", "again"))
    assert first.digest == second.digest and not (tmp_path / "out" / "adapt" / "inputs.jsonl").exists()
    assert first.adapt is not None
    for data, classes in zip(first.adapt["data"], (3, 4), strict=True):
        assert data["items"] == MADE and data["synthetic"]["kind"] == "drawings"
        assert len(data["synthetic"]["classes"]) == classes and sum(data["synthetic"]["classes"]) == MADE


def test_the_images_learned_from_are_those_drawn(family: dict[str, Any], tmp_path: Path) -> None:
    """Written as files and read as data, they are learned from to the same bytes."""
    merge(family, tmp_path / "out", workers=1)
    (tmp_path / "images").mkdir()
    for number, content in enumerate(drawings(MADE, 5)):
        (tmp_path / "images" / f"{number:03d}.png").write_bytes(content)
    tasks = [{**task, "data": str(tmp_path / "images")} for task in family["adapt"]["tasks"]]
    objective = read_record(tmp_path / "out").recipe["adapt"]["objective"]
    adapt = {**family["adapt"], "objective": objective, "tasks": tasks}
    del adapt["data"]
    merge({**family, "adapt": adapt}, tmp_path / "read", workers=1)
    first, second = (tmp_path / name / "adapt" / "coefficients.safetensors" for name in ("out", "read"))
    assert first.read_bytes() == second.read_bytes()
    digests = [read_record(tmp_path / name).adapt["data"][0]["sha256"] for name in ("out", "read")]  # pyright: ignore
    assert digests[0] == digests[1]


def test_an_image_model_without_a_head_is_refused(family: dict[str, Any], tmp_path: Path) -> None:
    tasks = [{"name": "task0"}, family["adapt"]["tasks"][1]]
    with pytest.raises(DataError, match=r"without a head nothing tells(.|\n)*task0"):
        merge({**family, "adapt": {**family["adapt"], "tasks": tasks}}, tmp_path / "out", workers=1)
