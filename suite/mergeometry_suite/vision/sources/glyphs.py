"""Letters and short words in real typefaces: which letter, of two alphabets, which kind of typeface, which script.

A family of fonts is a document: none is in two splits, so what is learned must hold for unseen typefaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

from mergeometry_suite.packages import fetch
from mergeometry_suite.splits import Sizes
from mergeometry_suite.vision.backbone import SIDE
from mergeometry_suite.vision.images import ImageSplits, Picture, import_pillow, partition, thin
from mergeometry_suite.vision.packages import font_packages

LETTERS = tuple(ascii_lowercase)
KINDS = ("sans-serif", "serif", "monospace", "handwriting")  # the catalogue's fifth, display, can look like any
_SCRIPTS = {
    "latin": ascii_lowercase,
    "vietnamese": "ăđơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψω",
}
SCRIPTS = tuple(_SCRIPTS)
CYRILLIC = tuple(_SCRIPTS["cyrillic"])
_MARGIN = 3  # pixels


@dataclass(frozen=True)
class Family:
    """A family of fonts on disk, of one kind, with its files by script."""

    name: str
    kind: str
    files: dict[str, Path]


def load_letter() -> ImageSplits:
    """26 letters, each as a capital and as a small letter."""
    return _letters("latin", Sizes())


def load_cyrillic() -> ImageSplits:
    """32 letters, each as a capital and as a small letter; a dozen look like Latin ones but have other names."""
    return _letters("cyrillic", Sizes(train=1500))


def load_kind() -> ImageSplits:
    """Four kinds of typeface, as their catalogue files them, told from a word of three letters."""
    pictures = [
        Picture(f"{family.name} {word}", drawn(family, word), KINDS.index(family.kind), family.name)
        for family in _families()
        if family.kind in KINDS
        for word in _words(family.name, ascii_lowercase, 27)
    ]
    return partition(pictures, Sizes(train=1500))


def load_script() -> ImageSplits:
    """Four scripts of the same families, told from a word of three letters; a few letters look alike in two."""
    pictures = [
        Picture(f"{family.name} {script} {word}", drawn(family, word, script), SCRIPTS.index(script), family.name)
        for family in _families()
        if "cyrillic" in family.files
        for script, alphabet in _SCRIPTS.items()
        if script in family.files
        for word in _words(f"{family.name} {script}", alphabet, 23)
    ]
    return partition(pictures, Sizes(train=1500))


def drawn(family: Family, word: str, script: str = "latin") -> bytes:
    """Draw a word in black on white, at a size and place that vary with the word, and whole."""
    image = import_pillow()
    from PIL import ImageDraw  # noqa: PLC0415

    random = Random(f"{family.name} {script} 400 {word}")  # noqa: S311
    path, room = family.files[script], SIDE - 2 * _MARGIN
    size = round(random.uniform(0.75, 1.0) * (44 if len(word) == 1 else 28))
    left, top, right, bottom = _font(path, size).getbbox(word)
    while max(right - left, bottom - top) > room:
        size -= 1
        left, top, right, bottom = _font(path, size).getbbox(word)
    across = _MARGIN + round(random.random() * (room - (right - left))) - left
    down = _MARGIN + round(random.random() * (room - (bottom - top))) - top
    canvas = image.new("L", (SIDE, SIDE), 255)
    ImageDraw.Draw(canvas).text((across, down), word, fill=0, font=_font(path, size))
    return canvas.convert("RGB").tobytes()


def _letters(script: str, sizes: Sizes) -> ImageSplits:
    alphabet = _SCRIPTS[script]
    pictures = [
        Picture(f"{family.name} {letter}", drawn(family, letter, script), alphabet.index(letter.lower()), family.name)
        for family in _families()
        if script in family.files
        for letter in alphabet.upper() + alphabet
    ]
    families = len({picture.document for picture in pictures})
    # No more of a family than the splits take, so that they take many families.
    most = -(-(sizes.train + sizes.validation + sizes.test) // families)
    return partition(thin(pictures, most, lambda picture: picture.document), sizes)


def _families() -> Iterator[Family]:
    for name, package in font_packages().items():
        folder = fetch(package) / "package"
        files = {
            script: path
            for script in SCRIPTS
            if (path := folder / "files" / f"{name}-{script}-400-normal.woff").is_file()
        }
        yield Family(name, json.loads((folder / "metadata.json").read_text("utf-8"))["category"], files)


def _words(seed: str, alphabet: str, count: int) -> Iterator[str]:
    random = Random(seed)  # noqa: S311
    for _ in range(count):
        yield "".join(random.choice(alphabet) for _ in range(3))


@cache
def _font(path: Path, size: int) -> Any:
    from PIL import ImageFont  # noqa: PLC0415

    # The basic layout needs no library that some builds of Pillow lack.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
