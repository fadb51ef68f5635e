"""An inspection as one HTML page that loads nothing: its style and its script are inside, and named by their hashes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mergeometry.errors import printable
from mergeometry.grouping import grouped
from mergeometry.report.definitions import not_shown_to_predict, shown_to_predict
from mergeometry.report.learning_curve import learning_curve
from mergeometry.report.on_inputs import inputs_csv, inputs_section
from mergeometry.report.policy import source_hash
from mergeometry.report.run_facts import decisions, headline, learning_facts, run_facts, slowest
from mergeometry.report.scores import board_section, evaluation_section, score_sheets
from mergeometry.report.search_facts import search_curve, search_facts
from mergeometry.words import brief, counted

_DIGITS, _DIGITS_OF_MANY = 4, 3
"""Of figures; and of those that each tensor has one of per pair of models, or a spectrum of."""

_MOST_PAIR_FIGURES = 120_000
"""Figures of pairs of tensors that a page holds: past that it would exceed two megabytes."""

_CODE = re.compile("`([^`]+)`")

_LEVELS = {"warning": "Warning", "attention": "Look", "note": "Note"}


def inspection_page(document: Mapping[str, Any]) -> str:
    """Draw an inspection from its JSON; every name is escaped, and the page can load nothing and send nothing."""
    style, script = page_style(), _source("inspection.js")
    totals, after = document["totals"]["models"], document["output"] is not None
    record = document["record"]
    return (
        environment()
        .get_template("inspection.html.jinja")
        .render(
            document=document,
            title=_title(document),
            levels=_LEVELS,
            after=after,
            record=record,
            headline=headline(document) if record else [],
            facts=run_facts(record) if record else [],
            decided=decisions(record) if record else [],
            learned=learning_facts(record) if record else [],
            searched=search_facts(record) if record else [],
            scales=Markup(search_curve(record)) if record else "",  # noqa: S704
            written=slowest(record) if record else [],
            # The drawing escapes what it is given; it holds numbers alone.
            curve=Markup(learning_curve(document["curves"])),  # noqa: S704
            most_moved=max((own["norm"] or 0.0 for own in totals), default=0.0),
            most_held=max([1.0, *(own["share_held"] or 0.0 for own in totals)]),
            tables=[one for one in document["tensors"] if one["rows_moved_by"] and one["shape"][0] > 1],
            inputs=[document["base"], *document["models"], *([document["output"]] if after else [])],
            notes=grouped([*document["notes"], *(record["warnings"] if record else ())]),
            recipe=json.dumps(document["recipe"], indent=1, ensure_ascii=False),
            definitions=list(shown_to_predict(after=after)),
            descriptions=list(not_shown_to_predict(after=after)),
            on_inputs=inputs_section(document),
            board=board_section(document),
            evaluation=evaluation_section(document),
            # Both are files of this package, and hold no word of a user's; the policy runs them by their hashes alone.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=source_hash(style),
            script_hash=source_hash(script),
            data=_embedded(_data(document)),
        )
    )


def inspection_cell(document: Mapping[str, Any]) -> str:
    """The verdict and the models as a few elements for a notebook's cell; every name is escaped."""
    return (
        environment()
        .get_template("inspection_cell.html.jinja")
        .render(document=document, title=_title(document), levels=_LEVELS, after=document["output"] is not None)
    )


def page_style() -> str:
    """The style of every page: that of its parts, and that of the curves of a comparison."""
    return _source("inspection.css") + _source("curves.css")


@cache
def _source(name: str) -> str:
    return files("mergeometry.report").joinpath(name).read_text("utf-8")


@cache
def environment() -> jinja2.Environment:
    """Where every page's templates are, with what writes names and figures."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "shown": lambda text: printable(str(text)),
        "shown_lines": lambda text: "\n".join(map(printable, text.split("\n"))),
        "with_code": _with_code,
        "thousands": "{:,}".format,
        "brief": _brief,
        "brief_name": lambda name: _brief(name, 120),
        "short_digest": lambda digest: printable(digest)[:23],
        "figure": _figure,
        "percent": lambda share: _figure(None if share is None else 100 * share),
        "seconds": lambda seconds: f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min",
        "parameters": _parameters,
    }
    return made


def _title(document: Mapping[str, Any]) -> str:
    models = counted(len(document["models"]), "model")
    if document["output"] is not None:
        return f"What became of {models} in the merge"
    return f"How the updates of {models} lie to each other" if len(document["models"]) > 1 else "What one model changed"


def _data(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the script draws from: short, and rounded."""
    tensors, totals = document["tensors"], document["totals"]
    count = len(document["models"])
    towers = sorted({one["tower"] for one in tensors})
    pairs = [[one, other] for one in range(count) for other in range(one + 1, count)]
    matrices = sum(one["matrix"] is not None for one in tensors)
    left_out = len(pairs) * (2 * len(tensors) + 4 * matrices) > _MOST_PAIR_FIGURES
    return {
        "models": [printable(model["label"]) for model in document["models"]],
        "pairs": pairs,
        "towers": [printable(tower) for tower in towers],
        "after": document["output"] is not None,
        "totals": [[_round(value) for key, value in own.items() if key != "label"] for own in totals["models"]],
        "pair_totals": {
            key: [_round(pair[key]) for pair in totals["pairs"]]
            for key in ("cosine", "conflict", "overlap_left", "overlap_right", "interference")
        },
        "pairs_left_out": left_out,
        "sheets": {
            name: [[_round(cell) for cell in row] for row in rows]
            for name, rows in {"inputs": inputs_csv(document), **score_sheets(document)}.items()
        },
        "tensors": [_tensor(one, towers, left_out) for one in tensors],
    }


def _tensor(one: Mapping[str, Any], towers: Sequence[str], left_out: bool) -> dict[str, Any]:
    entries = {
        "name": printable(one["name"]), "matrix": one["matrix"] is not None, "shape": one["shape"],
        "tower": towers.index(one["tower"]), "layer": one["layer"], "module": printable(one["module"]),
        "base": one["base_norm"], "norm": one["norm"], "outvoted": one["outvoted"],
    }  # fmt: skip
    pairs = {"cosine": one["cosine"], "conflict": one["conflict"]}
    if (matrix := one["matrix"]) is not None:
        keys = ("effective_rank", "stable_rank", "energy_ranks", "energy_kept")
        entries |= {key: matrix[key] for key in keys}
        own = [value for value in matrix["pair_interference"] if value is not None]
        entries["interference"] = sum(own) / len(own) if own else None
        pairs |= {key: matrix[key] for key in ("overlap_left", "overlap_right", "largest_cosine", "pair_interference")}
    if (merged := one["merged"]) is not None:
        keys = ("share_held", "alignment", "consistency", "accumulated", "deviation", "residual")
        entries |= {key: merged[key] for key in keys}
        entries["merged_energy"] = merged["energy_kept"]
    many = {key: entries.pop(key) for key in ("energy_kept", "merged_energy") if key in entries}
    many |= {} if left_out else pairs
    return {
        **{key: _round(value) for key, value in entries.items()},
        **{key: _round(value, _DIGITS_OF_MANY) for key, value in many.items()},
    }


def _round(value: Any, digits: int = _DIGITS) -> Any:
    if isinstance(value, float):
        rounded = float(f"{value:.{digits}g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
    return [_round(each, digits) for each in value] if isinstance(value, list | tuple) else value


def _embedded(value: Any) -> Markup:
    """JSON that cannot end its script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # all of it ASCII
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704


def _figure(value: float | None) -> str:
    """A number with three digits, as the script writes them; a dash where there is none."""
    if value is None:
        return "–"
    size = abs(value)
    if value != 0 and (size >= 1e5 or size < 1e-3):
        return f"{value:.2e}"
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def _brief(name: str, most: int = 60) -> str:
    """A name that fits its place, a heading's shortened as the script shortens it."""
    return brief(printable(name), most)


def _with_code(text: str) -> Markup:
    """A sentence whose words between backticks are code; all of it is escaped first."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(printable(text)))))  # noqa: S704


def _parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in parameters.items())
