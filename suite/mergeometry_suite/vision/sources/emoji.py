"""Emoji as Google draws them: what a picture shows, and the tone of its skin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mergeometry_suite.packages import fetch
from mergeometry_suite.splits import Sizes
from mergeometry_suite.vision.images import ImageSplits, Picture, decode, partition, resized
from mergeometry_suite.vision.packages import EMOJI

CATEGORIES = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
)  # fmt: skip
_TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
TONES = tuple(_TONES.values())
# People of three sexes, the signs for two, and what joins them: emoji that differ in these alone are one drawing.
_SEXES = {"1F468", "1F469", "1F9D1", "2640", "2642", "200D", "FE0F"}


def load_category() -> ImageSplits:
    """Nine groups of the Unicode standard; no picture with a tone of skin is among them."""
    return partition(_categories(), Sizes(train=1300, validation=200, test=400))


def load_tone() -> ImageSplits:
    """Five tones of skin; all tones of an emoji, and its women and men, are in one split."""
    return partition(_tones(), Sizes(train=880, validation=250, test=450))


def _categories() -> Iterator[Picture]:
    folder, entries = _entries()
    for entry in entries:
        if entry["category"] in CATEGORIES:
            label = CATEGORIES.index(entry["category"])
            pixels = resized(decode(folder / entry["image"]))
            yield Picture(entry["image"], pixels, label, document=_drawing(entry["unified"]))


def _tones() -> Iterator[Picture]:
    folder, entries = _entries()
    for entry in entries:
        for tone, variant in sorted(entry.get("skin_variations", {}).items()):
            if tone in _TONES and variant["has_img_google"]:  # two people can have two tones
                label = TONES.index(_TONES[tone])
                pixels = resized(decode(folder / variant["image"]))
                yield Picture(variant["image"], pixels, label, document=_drawing(entry["unified"]))


def _entries() -> tuple[Path, list[dict[str, Any]]]:
    package = fetch(EMOJI) / "package"
    entries = json.loads((package / "emoji.json").read_text("utf-8"))
    return package / "img/google/64", [entry for entry in entries if entry["has_img_google"]]


def _drawing(unified: str) -> str:
    codes = unified.split("-")
    return "-".join(code for code in codes if code not in _SEXES) or unified
