"""Simulated photographs of cloth: without a defect, with one in a place, or with one all over."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.suite.packages import fetch
from mergeometry.suite.splits import Sizes
from mergeometry.suite.vision.images import ImageSplits, Picture, decode, partition, resized
from mergeometry.suite.vision.packages import TEXTILE

CLASSES = ("nominal", "local", "global")


def load() -> ImageSplits:
    """Split by the photographs' numbers, so that no two of one number are in two splits."""
    return partition(_pictures(), Sizes(train=1300, validation=250, test=450))


def _pictures() -> Iterator[Picture]:
    folder = fetch(TEXTILE) / "conformal_clip_data/data/textile_images/simulated"
    for label, name in enumerate(CLASSES):
        for path in sorted((folder / name).glob("*.jpg")):
            yield Picture(f"{name}/{path.stem}", resized(decode(path)), label, document=path.stem)
