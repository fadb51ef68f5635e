"""``python -m tools.fuzzing FILE``: keeps what ``make fuzz`` printed for docs/guarantees.md."""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

from tools.guarantees_page import FIGURES

_FIRST = re.compile(r"^commit (\w+), (\d+) seconds$", re.MULTILINE)
_PARSER = re.compile(r"^(\w+): ([\d,]+) inputs, none uncaught$", re.MULTILINE)


def figures_of(text: str) -> dict[str, Any]:
    """The commit, the seconds, and the inputs by parser of a run that ended well.

    Raises:
        SystemExit: the run did not end, or a parser fell over.
    """
    first, inputs = _FIRST.search(text), {name: int(count.replace(",", "")) for name, count in _PARSER.findall(text)}
    if first is None or set(inputs) != {"header", "index", "adapter", "recipe", "gguf"}:
        sys.exit("the run of the fuzzer did not end well: no figures are kept")
    return {"commit": first[1], "seconds": int(first[2]), "inputs": inputs}


def main(report: str) -> None:
    """Keep the figures next to those of ``make torture``."""
    known = json.loads(FIGURES.read_text("utf-8"))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    known["fuzzing"] = {"date": date, **figures_of(Path(report).read_text("utf-8"))}
    FIGURES.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
