"""Texts are pooled without their padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.encoder_models import CLOSE, encoder_of, made, reference, run, texts


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "pooler"])
def test_texts_are_pooled_without_their_padding(pooling: str, folders: Any) -> None:
    encoder = encoder_of(folders("bert"), pooling)
    inputs = encoder.prepare(texts())
    torch.testing.assert_close(run(encoder, inputs), reference(made("bert"), encoder, inputs, pooling), **CLOSE)
