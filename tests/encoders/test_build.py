"""A base that says nothing of what it is gets no encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeometry.encoders.text import TextEncoder
from mergeometry.errors import DataError
from mergeometry.sources import open_checkpoint
from tests.helpers.encoder_models import CPU, encoder_of
from tests.helpers.learning_models import save_tokenizer


def test_a_folder_without_a_configuration(folders: Any, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folders("bert") / "model.safetensors").read_bytes())
    save_tokenizer(tmp_path)
    with pytest.raises(DataError, match=r"config\.json") as caught:
        encoder_of(tmp_path)
    assert "kind" in (caught.value.hint or "")
    with pytest.raises(DataError, match=r"transformers cannot build") as caught:
        TextEncoder(tmp_path, open_checkpoint(tmp_path, "b").tensors, pooling="mean", max_length=9, device=CPU)
    assert caught.value.file == str(tmp_path)
