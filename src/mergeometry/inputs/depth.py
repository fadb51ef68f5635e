"""Images of more than 8 bits a channel, brought to 8 bits by their range: plain conversion saturates them to white."""

from __future__ import annotations

from typing import Any

import numpy as np

_DEEP = 65_535
"""White in 16 bits."""


def is_deep(image: Any) -> bool:
    """Whether an opened image has more than 8 bits a channel; its pixels need not be decoded yet."""
    raw = [tile[3] for tile in getattr(image, "tile", ()) if len(tile) > 3]
    return image.mode in ("I", "F") or image.mode.startswith("I;") or any(";16" in str(one) for one in raw)


def to_rgb(image: Any, library: Any) -> Any:
    """The image in three channels of 8 bits; ``library`` is ``PIL.Image``.

    Of 16 bits, black stays black and white white. Integers of 32 bits count as 16 bits where they fit, and fractions
    as shares of white where they lie from 0 to 1; otherwise an image's own range becomes black to white.

    Raises:
        ValueError: a number is not finite, or the image's mode cannot be converted.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image.convert("RGB")
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds numbers that are not finite")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    white = 1 if image.mode == "F" else _DEEP
    if low < 0 or high > white:
        values, white = values - low, (high - low) or 1
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    return library.fromarray(grey).convert("RGB")
