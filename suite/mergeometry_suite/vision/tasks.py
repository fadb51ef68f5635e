"""The tasks of the vision suite: real images with real classes, several kinds of question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from mergeometry.errors import DataError
from mergeometry_suite.packages import Package
from mergeometry_suite.vision.images import ImageSplits
from mergeometry_suite.vision.packages import DIGITS, EMOJI, FASHION, MNIST, font_packages
from mergeometry_suite.vision.sources import digits, emoji, glyphs


@dataclass(frozen=True)
class VisionTask:
    """One classification of images: what is asked, what the answers are called, and where the images are from."""

    name: str
    title: str
    classes: tuple[str, ...]
    packages: tuple[Package, ...]
    read: Callable[[], ImageSplits]

    @property
    def source(self) -> str:
        """The package that holds the images with its version, or how many there are."""
        first, *others = self.packages
        return f"{len(self.packages)} of {first.name.partition('/')[0]}/*" if others else first.requirement

    @property
    def licence(self) -> str:
        """The licence of the packages, one for all of them."""
        return self.packages[0].licence

    @property
    def sha256(self) -> str:
        """The package's hash, or the hash of all packages' hashes."""
        hashes = [package.sha256 for package in self.packages]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _fonts() -> tuple[Package, ...]:
    return tuple(font_packages().values())


VISION_TASKS = {
    task.name: task
    for task in (
        VisionTask("mnist", "Handwriting: digit", digits.CLASSES, (MNIST,), digits.load_mnist),
        VisionTask("fashion", "Clothes: kind", digits.CLOTHES, (FASHION,), digits.load_fashion),
        VisionTask("digits", "Tiny scans: digit", digits.CLASSES, (DIGITS,), digits.load_digits),
        VisionTask("emoji-category", "Emoji: group", emoji.CATEGORIES, (EMOJI,), emoji.load_category),
        VisionTask("emoji-tone", "Emoji: tone of skin", emoji.TONES, (EMOJI,), emoji.load_tone),
        VisionTask("letter", "Glyphs: letter", glyphs.LETTERS, _fonts(), glyphs.load_letter),
        VisionTask("cyrillic", "Glyphs: Cyrillic letter", glyphs.CYRILLIC, _fonts(), glyphs.load_cyrillic),
        VisionTask("typeface", "Words: kind of typeface", glyphs.KINDS, _fonts(), glyphs.load_kind),
        VisionTask("script", "Words: script", glyphs.SCRIPTS, _fonts(), glyphs.load_script),
    )
}

_WITHOUT = ("digits", "typeface", "script")  # whose heads any other task's update harms, and whose experts gain least
VISION_SUITES = {
    "vision": tuple(VISION_TASKS),
    "vision-6": tuple(name for name in VISION_TASKS if name not in _WITHOUT),
}


def find_vision_task(name: str) -> VisionTask:
    """Return the task of that name.

    Raises:
        DataError: there is no such task; the hint gives the nearest name.
    """
    if name not in VISION_TASKS:
        near = get_close_matches(name, VISION_TASKS, n=1)
        hint = f"did you mean {near[0]}?" if near else "the tasks are " + ", ".join(VISION_TASKS)
        raise DataError(f"there is no vision task {name!r}", hint=hint)
    return VISION_TASKS[name]
