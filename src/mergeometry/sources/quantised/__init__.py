"""Models whose weights are stored scaled or packed, de-quantised while they are read where a recipe says so."""

from __future__ import annotations

from mergeometry.sources.quantised.gguf import open_gguf
from mergeometry.sources.quantised.open import Dequantised, dequantised

__all__ = ["Dequantised", "dequantised", "open_gguf"]
