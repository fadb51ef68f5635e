"""The page of all architectures, from the kept result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.measure import ROOT

COMMAND = "python -m benchmarks.studies.architectures"
RESULT = ROOT / "benchmarks" / "results" / "architectures.json"
PAGE = ROOT / "docs" / "architectures.md"

HEAD = """# Architectures

Which architectures of transformers merge to what the live models compute. Written by `{command}` from
`benchmarks/results/architectures.json`; do not edit.

Every row is a small model of random weights (two layers, 32 wide) of one architecture of transformers: a base, two
full fine-tunes of it and two LoRA adapters of all its linear layers, written by transformers and PEFT. Each is merged
four ways, and the output is loaded with the same class and run on the same inputs as the live models:

- **full**: the average of the fine-tunes, against a model with the average of their parameters;
- **directions**: the fine-tunes by `tsv_m`, against the same merge of the modules in memory, under the names and
  layouts that they have there;
- **adapter**: one adapter at scale 1, against the live PEFT model;
- **two adapters**: the sum of both, against the live PEFT model with both.

PEFT itself gives other outputs once it has merged an adapter where a model reads a weight past its layer, so that the
adapter does nothing before, or where one of two tied weights is adapted, so that both change after: the note says so,
and the figure is the smaller of the differences from the two.

A figure is the largest difference between any two outputs over the largest change that the merge makes to them; below
1e-3 it is the rounding of float32. A dash means that the merge could not be tried, for the reason in the last column.

{summary}

"""
_LONGEST = 240
"""Letters of a note; the kept result has all of them."""
_PARTS = {"average": "full", "directional": "directions", "adapter": "adapter", "adapters": "two adapters"}


def page_of(result: Mapping[str, Any]) -> str:
    """The whole page."""
    rows = result["rows"]
    built = [row for row in rows if "failed" not in row]
    lines = [HEAD.format(command=result["command"], summary=_summary(built))]
    lines.append("| architecture | kind | class | full | directions | adapter | two adapters | note |\n")
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
    lines += [_line(row) for row in built]
    failed = [row for row in rows if "failed" in row]
    if failed:
        lines.append(
            "\nNot built small: " + "; ".join(f"{row['architecture']} ({row['failed']})" for row in failed) + ".\n"
        )
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines.append(f"\nMeasured on {result['date']}, commit {result['commit']}, {versions}.\n")
    return "".join(lines)


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    count = Counter(_verdict(row[part]) for row in rows for part in _PARTS)
    return (
        f"{len(rows)} architectures, {sum(count.values())} merges: {count['same']} as the live model, "
        f"{count['refused']} refused before anything was written, "
        f"{count['unloadable']} that transformers does not load, {count['differs']} that differ, "
        f"{count['not tried']} not tried."
    )


def _verdict(cell: Mapping[str, Any]) -> str:
    if "same" in cell:
        return "same" if cell["same"] else "differs"
    return next(name.replace("_", " ") for name in ("refused", "unloadable", "not_tried") if name in cell)


def _line(row: Mapping[str, Any]) -> str:
    cells = [_cell(row[part]) for part in _PARTS]
    notes = {}
    for part, title in _PARTS.items():
        for key in ("refused", "unloadable", "not_tried"):
            if key in row[part]:
                notes.setdefault(row[part][key], []).append(title)
    note = "; ".join([*(f"{', '.join(titles)}: {text}" for text, titles in notes.items()), *row.get("notes", ())])
    return f"| {row['architecture']} | {row['family']} | `{row['class']}` | {' | '.join(cells)} | {_plain(note)} |\n"


def _cell(cell: Mapping[str, Any]) -> str:
    verdict = _verdict(cell)
    if "same" in cell:
        share = cell["difference"] / cell["change"] if cell["change"] else float("inf")
        return f"{share:.0e}" if cell["same"] else f"**{share:.2g}**"
    return {"not tried": "-"}.get(verdict, verdict)


def _plain(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text.replace("|", "/").replace("<", "&lt;").replace("*", "\\*")
