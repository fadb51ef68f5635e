"""``python -m benchmarks.speed.page_size`` measures the page of a large merge: its bytes, and what a browser takes."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import CHROMIUM
from tests.helpers.inspections import drawn, recorded

RESULT = ROOT / "benchmarks" / "results" / "page_size.json"
PAGE = ROOT / "docs" / "reading-the-report.md"
NAME, COMMAND = "page size", "python -m benchmarks.speed.page_size"
TENSORS, LAYERS, MODELS = 700, 100, 8
LOADS = 5
VIEWS: Mapping[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True},
}
_PAINTED = """() => new Promise((done) => {
  const look = () => performance.getEntriesByType("paint").length ? done() : requestAnimationFrame(look);
  look();
})"""
"""Waits for the first paint; a condition given as text would be evaluated, which the page's policy forbids."""

_PAINT = "performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint').startTime"
_READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
_REDRAW = """(() => {
  const from = performance.now(), chosen = document.getElementById("layer-figure");
  chosen.selectedIndex = (chosen.selectedIndex + 1) % chosen.options.length;
  chosen.dispatchEvent(new Event("change"));
  document.body.getBoundingClientRect();
  return performance.now() - from;
})()"""


def main() -> None:
    """Measure, keep the figures, and write them on the page of the documentation."""
    if CHROMIUM is None:
        sys.exit("there is no Chromium on this machine")
    found = circumstances()
    labels = [f"model{place}" for place in range(MODELS)]
    document = recorded(drawn(labels, tensors=TENSORS, layers=LAYERS, after=True)).to_json()
    started = process_time()
    page = inspection_page(document)
    result = {
        **found, "tensors": TENSORS, "models": MODELS, "bytes": len(page.encode()),
        "json_bytes": len(json.dumps(document, indent=1)), "written_in": process_time() - started, "loads": LOADS,
        "views": _rendered(page),
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    PAGE.write_text(between(PAGE.read_text("utf-8"), NAME, written(result), COMMAND), "utf-8")
    say(written(result))


def _rendered(page: str) -> dict[str, dict[str, float]]:
    """Medians in milliseconds, of several loads in a fresh tab each."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (a browser is driven here alone)

    views: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        place = Path(folder) / "index.html"
        place.write_text(page, "utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, view in VIEWS.items():
            figures: dict[str, list[float]] = {"first_paint": [], "ready": [], "redraw": []}
            for _ in range(LOADS):
                context = browser.new_context(**view)
                tab = context.new_page()
                tab.goto(place.as_uri())
                tab.evaluate(_PAINTED)
                for key, script in (("first_paint", _PAINT), ("ready", _READY), ("redraw", _REDRAW)):
                    figures[key].append(float(tab.evaluate(script)))
                context.close()
            views[name] = {key: median(values) for key, values in figures.items()}
        browser.close()
    return views


def written(result: Mapping[str, Any]) -> str:
    """The figures in words."""
    rows = [
        f"| {name} | {own['first_paint']:,.0f} | {own['ready']:,.0f} | {own['redraw']:,.0f} |"
        for name, own in result["views"].items()
    ]
    machine = result["machine"]
    return "\n".join([
        "| Chromium, milliseconds | first paint | ready | another figure of all layers |",
        "| --- | ---: | ---: | ---: |",
        *rows,
        "",
        f"{result['tensors']} tensors of {result['models']} models: a page of {result['bytes'] / 1e6:.2f} MB, written "
        f"in {result['written_in']:.1f} s of one core, beside {result['json_bytes'] / 1e6:.1f} MB of JSON. Medians of "
        f"{result['loads']} loads, headless; {machine['cpu']}, {machine['cores']} cores, load {machine['load_before']} "
        f"before; {result['date']}, commit {result['commit']}.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
