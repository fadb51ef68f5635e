"""Pickled weights (`.bin`, `.pt`, `.pth`, `.ckpt`), converted to safetensors where the user allows it."""

from __future__ import annotations

from mergeometry.sources.pickles.convert import converted
from mergeometry.sources.pickles.find import pickled_weights

__all__ = ["converted", "pickled_weights"]
