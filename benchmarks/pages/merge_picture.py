"""Takes the pictures of a merge's page that the documentation shows, from the demo's best merge, with Chromium.

mergeometry demo --output demo
python -m benchmarks.pages.merge_picture demo/merged/tsv_m-report
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from mergeometry.report.inspection import inspection_page
from tests.report.conftest import CHROMIUM

PICTURES = Path(__file__).parents[2] / "docs/pictures"
WIDTH, SHOWN_WIDTH = 1280, 1000
HEIGHTS = {"merge": 1640, "report": 2900}
"""Pixels from the top of the page: of the README's picture, and of the one in docs/reading-the-report.md."""


def main(folder: Path) -> None:
    """Write both pictures."""
    document = _without_folders(json.loads((folder / "inspection.json").read_text("utf-8")))
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        page = Path(place) / "index.html"
        page.write_text(inspection_page(document), "utf-8")
        tab = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        tab.set_viewport_size({"width": WIDTH, "height": 900})
        tab.goto(page.as_uri())
        whole = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
    for name, height in HEIGHTS.items():
        shown = whole.crop((0, 0, WIDTH, height)).resize((SHOWN_WIDTH, height * SHOWN_WIDTH // WIDTH))
        shown.save(PICTURES / f"{name}.webp", quality=82, method=6)


def _without_folders(value: Any) -> Any:
    """The same with the last part of every absolute path: those of one machine tell a reader nothing."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
