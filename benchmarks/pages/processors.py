"""The same benchmarks on other processors: how far the ratios of the page carry over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.summary import figure_of, short_title
from benchmarks.pages.table import table

Result = Mapping[str, Any]

FOLDER = "processors"
"""Below the results: a folder per processor, each with the results of some benchmarks (`--results`)."""

_NOTE = """The same commands on other processors. Directional methods depend on the processor most: AMD's Zen 5 (family
26) has units for AVX-512 of full width, which the library of plain programs leaves idle; Zen 4 (family 25, model 17)
does such instructions in two halves, and there both libraries multiply equally fast. Figures above are of the
routines that their section names, or of Haswell's."""


def processors_section(results: Path, titles: Mapping[str, str]) -> Iterator[str]:
    """Lines of the section, from all results of other processors."""
    rows = []
    for file in sorted((results / FOLDER).glob("*/*.json")):
        there, of_page = json.loads(file.read_text()), results / file.name
        here = {found["goal"]: found for found in json.loads(of_page.read_text())["goals"]} if of_page.exists() else {}
        section = short_title(titles[file.stem])
        origin = there["commit"], there["date"], there["machine"]["cpu"]
        for found in there["goals"]:
            known = here.get(found["goal"])
            rows.append((section, found["goal"], "-" if known is None else figure_of(known), figure_of(found), *origin))
    if rows:
        yield "## Other processors\n"
        yield f"{_NOTE}\n"
        head = "section", "measure", "above", "on the other", "commit", "date", "the other processor"
        yield from table(head, iter(rows))
