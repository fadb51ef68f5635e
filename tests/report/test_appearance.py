"""What the page looks like, against pictures of it at desktop and phone width, light and dark.

A picture holds the parts of the page below each other, each brought to one small size: another machine's font changes
some of it (5 to 9 % of the dots for a serif and a fixed-width one), a lost style, script or theme much (24 % or more).
After a change that is meant, look at the page and write them anew: python -m tests.report.test_appearance
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import CHROMIUM, Opened
from tests.helpers.inspections import drawn, recorded

REFERENCES = Path(__file__).parent / "references"
PARTS = ("header", ".headline", ".verdict", "#models-table", "#pair-matrix", "#heat", "#detail", ".curve")
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
VIEWS = {
    f"{name}-{scheme}": {**view, "color_scheme": scheme, "reduced_motion": "reduce"}
    for name, view in (("desktop", DESKTOP), ("phone", PHONE))
    for scheme in ("light", "dark")
}
SIZE = (160, 80)
FAR = 32
"""Of 255: a colour that is this far off in one channel differs."""
TOLERANCE = 0.15
"""Share of a picture that may differ."""


def page() -> str:
    return inspection_page(recorded(drawn(["reviews", "questions", "languages"], after=True)).to_json())


def picture(opened: Opened) -> Image.Image:
    width, height = SIZE
    whole = Image.new("RGB", (width, height * len(PARTS)), "magenta")
    for place, part in enumerate(PARTS):
        element = opened.tab.locator(part)
        if (box := element.bounding_box()) and box["width"] and box["height"]:
            shot = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
            whole.paste(shot.resize(SIZE, Image.Resampling.BOX), (0, height * place))
    return whole


def share(one: Image.Image, other: Image.Image) -> float:
    """The share of pixels that differ."""
    if one.size != other.size:
        return 1.0
    apart = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max(axis=-1)
    return float((apart > FAR).mean())


@pytest.mark.suite
@pytest.mark.parametrize("view", VIEWS)
def test_the_page_looks_like_its_picture(browser: Any, tmp_path: Path, view: str) -> None:
    shown = picture(Opened(browser, tmp_path, page(), **VIEWS[view]))
    reference = Image.open(REFERENCES / f"{view}.png").convert("RGB")
    assert share(shown, reference) <= TOLERANCE


@pytest.mark.suite
def test_a_page_without_its_style_does_not(browser: Any, tmp_path: Path) -> None:
    bare = page().replace("<style>", "<style>no{").replace("</style>", "}</style>")
    shown = picture(Opened(browser, tmp_path, bare, **VIEWS["desktop-light"]))
    assert share(shown, Image.open(REFERENCES / "desktop-light.png").convert("RGB")) > TOLERANCE


def write(browser: Any) -> None:
    REFERENCES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, view in VIEWS.items():
            shown = picture(Opened(browser, Path(folder), page(), **view))
            shown.quantize(64).save(REFERENCES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        sys.exit("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        write(playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
