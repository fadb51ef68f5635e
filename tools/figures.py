"""``python -m tools.figures FILE.xml ...``: keeps the figures of a run of ``make torture`` for docs/guarantees.md."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.guarantees_page import FIGURES
from tools.surface import ROOT


def figures_of(report: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """The figures of every test in a report of pytest that noted some.

    Raises:
        SystemExit: a test failed.
    """
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (pytest wrote it)
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = f"{file}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            sys.exit(f"{name} failed: no figures are kept")
        values = {each.get("name", ""): json.loads(each.get("value", "")) for each in case.iter("property")}
        if values:
            yield name, values


def main(reports: Sequence[str]) -> None:
    """Print the figures, and keep them."""
    figures = dict(sorted(pair for report in reports for pair in figures_of(Path(report))))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    known = json.loads(FIGURES.read_text("utf-8"))
    known |= {"date": date, "commit": commit.stdout.strip(), "machine": machine, "figures": figures}
    FIGURES.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    for name, values in figures.items():
        print(name, *(f"{key}: {value:,}" for key, value in values.items()), sep="\n    ")


if __name__ == "__main__":
    main(sys.argv[1:])
