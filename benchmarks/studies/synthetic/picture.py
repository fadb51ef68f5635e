"""A sheet of the images that are drawn where there are none, one row for each kind."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from mergeometry.synthetic.drawings import KINDS, drawings

_ACROSS, _SIDE, _GAP = 12, 72, 2


def sheet() -> Image.Image:
    """The first images of seed 0."""
    step = _SIDE + _GAP
    shown = Image.new("RGB", (_ACROSS * step - _GAP, len(KINDS) * step - _GAP), "white")
    for number, content in enumerate(drawings(_ACROSS * len(KINDS), 0)):
        column, row = divmod(number, len(KINDS))
        shown.paste(Image.open(BytesIO(content)).resize((_SIDE, _SIDE)), (column * step, row * step))
    return shown


def write_sheet(place: Path) -> None:
    """Write the sheet as a small picture for the documentation."""
    sheet().save(place, quality=82, method=6)
