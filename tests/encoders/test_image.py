"""Images are pooled as asked, prepared as the base's own processor does, and refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mergeometry.errors import DataError, MismatchError
from tests.helpers.encoder_models import (
    CLOSE,
    MODELS,
    VISION,
    encoder_of,
    made,
    pictures,
    pixels_of,
    reference,
    run,
    save_processor,
    texts,
)


@pytest.mark.parametrize("name", VISION)
def test_images_are_pooled_over_their_patches(name: str, folders: Any, images: Any) -> None:
    """Class and register tokens do not count; the last 16 tokens are the patches of 28 x 28 pixels."""
    encoder = encoder_of(folders(name), "mean")
    inputs = encoder.prepare(pictures(images))
    torch.testing.assert_close(run(encoder, inputs), reference(made(name), encoder, inputs, "mean"), **CLOSE)


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_images_are_pooled_by_the_model(name: str, folders: Any, images: Any) -> None:
    encoder = encoder_of(folders(name), "pooler")
    with torch.no_grad():
        expected = torch.cat([made(name)(pixel_values=pixels_of(path)).pooler_output for path in images])
    torch.testing.assert_close(run(encoder, encoder.prepare(pictures(images))), expected, **CLOSE)


def test_texts_are_not_read_as_images(folders: Any) -> None:
    with pytest.raises(DataError, match="reads images, and the data are texts"):
        encoder_of(folders("vit")).prepare(texts())


def test_a_vision_model_without_its_processor(tmp_path: Path) -> None:
    made("vit").save_pretrained(tmp_path)
    with pytest.raises(DataError, match="image processor cannot be loaded") as caught:
        encoder_of(tmp_path)
    assert "preprocessor_config.json" in (caught.value.hint or "")


def test_a_processor_of_another_size(folders: Any, tmp_path: Path) -> None:
    made("vit").save_pretrained(tmp_path)
    save_processor(tmp_path)
    place = tmp_path / "preprocessor_config.json"
    settings = json.loads(place.read_text())
    place.write_text(json.dumps({**settings, "crop_size": {"height": 21, "width": 21}}))
    with pytest.raises(DataError, match="does not run on images of 21 x 21 pixels") as caught:
        encoder_of(tmp_path)
    assert "preprocessor_config.json" in (caught.value.hint or "")
    place.write_text(json.dumps({**settings, "do_center_crop": False}))
    with pytest.raises(DataError, match="does not run on images of"):
        encoder_of(tmp_path)


@pytest.mark.parametrize("pooling", ["last", "pooler"])
def test_poolings_that_a_vision_model_does_not_have(pooling: str, tmp_path: Path) -> None:
    import transformers

    _, config, settings = MODELS["vit"]
    settings = getattr(transformers, config)(**settings)
    transformers.ViTModel(settings, add_pooling_layer=False).save_pretrained(tmp_path)
    save_processor(tmp_path)
    with pytest.raises((DataError, MismatchError), match="pool"):
        encoder_of(tmp_path, pooling)


def test_a_damaged_image_is_named(folders: Any, images: Any, tmp_path: Path) -> None:
    encoder = encoder_of(folders("vit"))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(images[0].read_bytes()[:200])
    # Paths alone are kept; the file is decoded with its batch.
    inputs = encoder.prepare(pictures([images[0], damaged]))
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        encoder.batch(inputs.items)
    assert caught.value.file == str(damaged)
