"""Images of every depth and mode reach the model as grey or colours of 8 bits, by range and never saturated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mergeometry.encoders.pixels import Pixels
from mergeometry.errors import DataError
from mergeometry.inputs import read_unlabelled
from mergeometry.inputs.depth import to_rgb
from mergeometry.recipe.inputs import AdaptTask, DataSource
from tests.helpers.encoder_models import save_processor

RAMP = np.arange(64, dtype=np.float64).reshape(8, 8) / 63
SIXTEEN = np.rint(RAMP * 65_535)
SCALED = np.rint(SIXTEEN / 257).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    image = Image.open(path)
    return np.asarray(to_rgb(image, Image))[..., 0]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("16.png", SIXTEEN.astype(np.uint16), SCALED),
        ("dark.png", (SIXTEEN // 256).astype(np.uint16), np.rint(SIXTEEN // 256 / 257)),
        ("16.tif", SIXTEEN.astype(np.uint16), SCALED),
        ("16.pgm", SIXTEEN.astype(np.uint16), SCALED),
        ("int.tif", SIXTEEN.astype(np.int32), SCALED),
        ("wide.tif", (SIXTEEN * 1000 - 7).astype(np.int32), np.rint(RAMP * 255)),
        ("share.tif", RAMP.astype(np.float32), np.rint(RAMP.astype(np.float32) * 255)),
        ("float.tif", (RAMP * 3000 - 20).astype(np.float32), np.rint(RAMP * 255)),
        ("flat.tif", np.full((8, 8), -3.0, np.float32), None),
        ("8.png", np.rint(RAMP * 255).astype(np.uint8), np.rint(RAMP * 255)),
    ],
)
def test_grey_of_any_depth_keeps_its_range(tmp_path: Path, name: str, values: Any, expected: Any) -> None:
    image = Image.fromarray(values)
    image.save(tmp_path / name)
    if expected is None:
        assert set(read(tmp_path / name).flat) == {0}
    else:
        assert np.abs(read(tmp_path / name).astype(int) - expected).max() <= (
            1 if "wide" in name or "float" in name else 0
        )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_are_converted_as_pillow_does(tmp_path: Path, mode: str) -> None:
    colours = np.stack([np.rint(RAMP * 255), 255 - np.rint(RAMP * 255), np.full((8, 8), 90)], -1).astype(np.uint8)
    image = Image.fromarray(colours).convert(mode)
    assert np.array_equal(np.asarray(to_rgb(image, Image)), np.asarray(image.convert("RGB")))


def test_a_note_says_how_many_were_converted_and_the_model_sees_the_picture(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        values = np.tile(SIXTEEN, (4, 4)).astype(np.uint16)
        Image.fromarray(values if number else (values >> 8).astype(np.uint8)).save(folder / f"{number}.png")
    data = read_unlabelled(AdaptTask(name="a", data=DataSource(path=str(folder))), "images")
    assert data.notes == ("2 of 3 images have more than 8 bits a channel, and are brought to 8 by their range",)
    save_processor(tmp_path)
    eight, sixteen, _ = Pixels(tmp_path).of([Path(path) for path in data.items])
    assert float((eight - sixteen).abs().max()) < 0.02 and float(sixteen.std()) > 0.5


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    save_processor(tmp_path)
    with pytest.raises(DataError, match="not finite") as caught:
        Pixels(tmp_path).of([tmp_path / "nan.tif"])
    assert caught.value.file == str(tmp_path / "nan.tif")
