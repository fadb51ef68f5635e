"""A tokenizer is found beside the base, and reads texts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeometry.errors import DataError
from tests.helpers.encoder_models import encoder_of, made, pictures


def test_a_base_without_a_tokenizer(tmp_path: Path) -> None:
    for name in ("bert", "t5", "llama"):
        made(name).save_pretrained(tmp_path / name)
        with pytest.raises(DataError, match="tokenizer") as caught:
            encoder_of(tmp_path / name)
        assert caught.value.file == str(tmp_path / name) and "tokenizer files" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_images_are_not_read_as_texts(name: str, folders: Any, images: Any) -> None:
    with pytest.raises(DataError, match="reads texts, and the data are images"):
        encoder_of(folders(name)).prepare(pictures(images))
