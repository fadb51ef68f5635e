"""From labelled images to splits that share no image: one size, duplicates, groups and sizes, one rule for every task.

Images are compared by the pixels that the encoder reads: where labels agree, one of equal images is kept; where
they differ, none is. Splits are made by document (a font's family, an emoji with all its variants), so that images
that belong together are never in two of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mergeometry.errors import DataError
from mergeometry.words import install_suite
from mergeometry_suite.splits import Sizes
from mergeometry_suite.vision.backbone import SIDE


@dataclass(frozen=True)
class Picture:
    """One image with its class, its name in its source, and the document it is part of.

    ``pixels`` are ``SIDE`` by ``SIDE`` by 3 bytes.
    """

    name: str
    pixels: bytes
    label: int
    document: str


@dataclass(frozen=True)
class Images:
    """Images with their classes, names and documents, in a random order that is always the same."""

    pixels: UInt8[Tensor, "n side side 3"]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    documents: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, count: int) -> Images:
        """Return the first ``count`` images, which are a random sample, as the order is random."""
        return Images(self.pixels[:count], self.labels[:count], self.names[:count], self.documents[:count])


@dataclass(frozen=True)
class ImageSplits:
    """What an expert learns from, what choices are made on, and what is reported."""

    train: Images
    validation: Images
    test: Images


def import_pillow() -> Any:
    """Import Pillow's Image module, which decodes and resizes.

    Raises:
        DataError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415
    except ImportError as error:
        raise DataError("reading images needs Pillow", hint=install_suite()) from error
    return Image


def decode(path: Path) -> Any:
    """Read an image file in colour; transparent pixels turn white."""
    image = import_pillow()
    with image.open(path) as source:
        opaque = image.new("RGBA", source.size, "white")
        opaque.alpha_composite(source.convert("RGBA"))
    return opaque.convert("RGB")


def resized(image: Any) -> bytes:
    """Return an image's pixels at the size that the encoder reads, whatever its proportions."""
    return image.convert("RGB").resize((SIDE, SIDE), import_pillow().Resampling.BICUBIC).tobytes()


def grey(values: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return a greyscale image's pixels at the size that the encoder reads."""
    return resized(import_pillow().fromarray(values))


def unique(pictures: Iterable[Picture]) -> list[Picture]:
    """Keep one of equal images, and none of those that occur with two classes."""
    kept: dict[bytes, Picture] = {}
    contradicted: set[bytes] = set()
    for picture in pictures:
        first = kept.setdefault(picture.pixels, picture)
        if first.label != picture.label:
            contradicted.add(picture.pixels)
    return [picture for pixels, picture in kept.items() if pixels not in contradicted]


def partition(pictures: Iterable[Picture], sizes: Sizes) -> ImageSplits:
    """Split by document where a source has no official test set.

    Where each document has one class, the documents of each class are split separately, so that every split has its
    share of every class.
    """
    distinct = unique(pictures)
    classes: dict[str, set[int]] = {}
    for picture in distinct:
        classes.setdefault(picture.document, set()).add(picture.label)
    groups: dict[int, list[Picture]] = {}
    pure = all(len(labels) == 1 for labels in classes.values())
    for picture in distinct:
        groups.setdefault(picture.label if pure else 0, []).append(picture)
    fewer = min(1.0, len(distinct) / (sizes.train + sizes.validation + sizes.test)) / max(1, len(distinct))
    pools: list[list[Picture]] = [[], [], []]
    for _, group in sorted(groups.items()):
        share = fewer * len(group)
        for place, part in enumerate(_deal(group, (sizes.test * share, sizes.validation * share))):
            pools[place] += part
    test, validation, train = pools
    return ImageSplits(_images(train, sizes.train), _images(validation, sizes.validation), _images(test, sizes.test))


def official(train: Iterable[Picture], test: Iterable[Picture], sizes: Sizes) -> ImageSplits:
    """Keep a source's own test set, and take validation images from its training set.

    An image of both sets counts as a training image and leaves the test set.
    """
    training = unique(train)
    known = {picture.pixels for picture in training}
    testing = [picture for picture in unique(test) if picture.pixels not in known]
    validation, rest = _deal(training, (sizes.validation,))
    return ImageSplits(_images(rest, sizes.train), _images(validation, sizes.validation), _images(testing, sizes.test))


def thin(pictures: Iterable[Picture], most: int, group: Callable[[Picture], object]) -> list[Picture]:
    """Keep at most ``most`` images of a group, chosen at random, always the same."""
    seen: Counter[object] = Counter()
    kept: list[Picture] = []
    for picture in sorted(pictures, key=lambda picture: rank(picture.name)):
        seen[group(picture)] += 1
        if seen[group(picture)] <= most:
            kept.append(picture)
    return kept


def rank(name: str) -> bytes:
    """Return a place in a random order that depends only on the name itself."""
    return hashlib.sha256(b"mergeometry\0" + name.encode()).digest()


def _deal(pictures: Sequence[Picture], counts: Sequence[float]) -> list[list[Picture]]:
    documents: dict[str, list[Picture]] = {}
    for picture in pictures:
        documents.setdefault(picture.document, []).append(picture)
    pools: list[list[Picture]] = [[] for _ in range(len(counts) + 1)]
    current = 0
    for document in sorted(documents, key=rank):
        while current < len(counts) and len(pools[current]) >= counts[current]:
            current += 1
        pools[current].extend(documents[document])
    return pools


def _images(pictures: Iterable[Picture], most: int) -> Images:
    chosen = sorted(pictures, key=lambda picture: rank(picture.name))[:most]
    if not chosen:
        raise DataError("a split has no images", hint="the source holds fewer documents than splits")
    flat = torch.frombuffer(bytearray(b"".join(picture.pixels for picture in chosen)), dtype=torch.uint8)
    return Images(
        flat.reshape(len(chosen), SIDE, SIDE, 3),
        tuple(picture.label for picture in chosen),
        tuple(picture.name for picture in chosen),
        tuple(picture.document for picture in chosen),
    )
