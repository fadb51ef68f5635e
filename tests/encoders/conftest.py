"""The tiny bases and the images that encoders are tested on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.encoder_models import VISION, made, save_processor
from tests.helpers.learning_models import save_tokenizer


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("bases")

    def folder(name: str) -> Path:
        place = root / name
        if not place.exists():
            made(name).save_pretrained(place)
            (save_processor if name in VISION else save_tokenizer)(place)
        return place

    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    from PIL import Image

    root, paths = tmp_path_factory.mktemp("images"), []
    generator = torch.Generator().manual_seed(0)
    for number, size in enumerate([(40, 50), (28, 28), (64, 33)]):
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
        paths.append(root / f"{number}.png")
        Image.fromarray(pixels.numpy()).save(paths[-1])
    return tuple(paths)
