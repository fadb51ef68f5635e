"""An inspection on a terminal: the verdict, and tables with bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeometry.cli.on_inputs import inputs_table
from mergeometry.cli.show import console, plain
from mergeometry.grouping import grouped
from mergeometry.inspection.prediction import predicts
from mergeometry.progress import duration
from mergeometry.words import brief, counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mergeometry.inspection.result import Inspection

_TITLES = {"share_held": "held in the merge", "alignment": "alignment", "consistency": "consistency"}
"""Figures of a merge; those that were not shown to go with what is lost are folded away, on the page too."""

_MARKS = {"warning": "!!", "attention": "! ", "note": "- "}
_WIDTH = 16
_PAIRS = 10
_LAYERS = 48


def print_inspection(inspection: Inspection) -> None:
    """Print the verdict first, then models, pairs and layers."""
    target = console()
    merged = " and in their merge" if inspection.output else ""
    what = f": how their updates lie to each other{merged}"
    if len(inspection.models) < 2:
        what = ": what became of it in the merge" if inspection.output else ": what it changed"
    by = f", by {counted(len(inspection.tensors), 'tensor')} in {duration(inspection.seconds)}"
    models = f"{counted(len(inspection.models), 'model')} of {plain(inspection.base.path)}"
    target.print(f"{models}{what}{by}" if inspection.tensors else models, soft_wrap=True)
    for sentence in inspection.verdict:
        target.print(f"{_MARKS[sentence.level]} {plain(sentence.text)}", soft_wrap=True)
    on_inputs = None if inspection.on_inputs is None else inputs_table(inspection.on_inputs)
    for table in (on_inputs, _models(inspection, target), _pairs(inspection, target), _layers(inspection, target)):
        if table is not None:
            target.print(table)
    folded = [title for one, title in _TITLES.items() if not predicts(one)]
    if inspection.output is not None and inspection.tensors and folded:
        target.print(f"on the page, not shown to predict what a task loses: {' and '.join(folded)}", soft_wrap=True)
    for note in grouped([*inspection.notes, *(inspection.on_inputs.notes if inspection.on_inputs else ())]):
        target.print(f"note: {plain(note)}")


def _models(inspection: Inspection, target: Console) -> Table | None:
    from rich.table import Table

    if not inspection.tensors:
        return None
    totals = inspection.totals.models
    table = Table(title="Models", title_justify="left")
    for column in ("model", "moved", ""):
        table.add_column(column, justify="right" if column == "moved" else "left")
    shown = [figure for figure in _TITLES if inspection.output is not None and predicts(figure)]
    columns = ["of the base", "alignment with it", "effective rank"]
    for column in [*columns, *(_TITLES[figure] for figure in shown)]:
        table.add_column(column, justify="right")
    most = max((own.norm for own in totals), default=0.0)
    for own in totals:
        cells = [f"{100 * own.relative_norm:.1f} %", f"{own.base_alignment:.3f}", _figure(own.effective_rank, ".1f")]
        cells += [_figure(getattr(own, figure)) for figure in shown]
        table.add_row(plain(brief(own.label)), f"{own.norm:.3g}", _bar(own.norm, most, target), *cells)
    return table


def _pairs(inspection: Inspection, target: Console) -> Table | None:
    from rich.table import Table

    pairs = inspection.totals.pairs
    if not pairs or not inspection.tensors:
        return None
    shown = sorted(pairs, key=lambda pair: -(pair.interference or pair.conflict))
    title = "Pairs"
    if len(pairs) > _PAIRS:
        shown, title = shown[:_PAIRS], f"The {_PAIRS} pairs that interfere most, of {len(pairs):,}"
    table = Table(title=title, title_justify="left")
    table.add_column("models")
    for column in ("cosine", "sign conflicts", "overlap, outputs", "overlap, inputs", "interference"):
        table.add_column(column, justify="right")
    table.add_column("")
    most = max((pair.interference or 0.0 for pair in pairs), default=0.0)
    for pair in shown:
        table.add_row(
            plain(f"{brief(pair.one)}, {brief(pair.other)}"), f"{pair.cosine:.3f}", f"{100 * pair.conflict:.1f} %",
            _figure(pair.overlap_left), _figure(pair.overlap_right), _figure(pair.interference),
            _bar(pair.interference or 0.0, most, target),
        )  # fmt: skip
    return table


def _layers(inspection: Inspection, target: Console) -> Table | None:
    from rich.table import Table

    layers = [layer for layer in inspection.totals.layers if layer.interference is not None]
    if not layers or len(inspection.models) < 2:
        return None
    several = len({layer.tower for layer in layers}) > 1
    title = "Layers"
    if len(layers) > _LAYERS:
        layers = sorted(layers, key=lambda layer: -(layer.interference or 0.0))[:_LAYERS]
        title = f"The {_LAYERS} layers of most interference"
    table = Table(title=title, title_justify="left")
    for column in ("layer", "moved", "interference", ""):
        table.add_column(column, justify="left" if not column else "right")
    table.add_column("outvoted", justify="right")
    most = max(layer.interference or 0.0 for layer in layers)
    for layer in layers:
        table.add_row(
            plain(f"{layer.tower}.{layer.layer}") if several else str(layer.layer), f"{layer.norm:.3g}",
            _figure(layer.interference), _bar(layer.interference or 0.0, most, target),
            f"{100 * layer.outvoted:.1f} %",
        )  # fmt: skip
    return table


def _figure(value: float | None, how: str = ".2f") -> str:
    return "" if value is None else format(value, how)


def _bar(value: float, most: float, target: Console) -> str:
    """A bar of blocks, or of hashes where the terminal has no blocks."""
    eighths = round(8 * _WIDTH * value / most) if most > 0 else 0
    if not (target.encoding or "").lower().startswith("utf"):
        return "#" * round(eighths / 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
