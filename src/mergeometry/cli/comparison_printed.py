"""What `mergeometry compare` prints: a comparison's table and sentences, or what one would take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from mergeometry.cli.show import console, plain, size
from mergeometry.grouping import grouped
from mergeometry.progress import about, duration
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison


def print_comparison(comparison: Comparison) -> None:
    """Print the table of a comparison, and what it says in sentences."""
    from rich.table import Table

    from mergeometry.cli.left_out import left_out_table
    from mergeometry.report.comparison import figure, kept, percent, points, summary
    from mergeometry.report.left_out import left_out_sentences
    from mergeometry.report.regret import least_regret, regret_tables

    title = f"{len(comparison.seen)} experts merged {len(comparison.rows)} ways; test {comparison.measure}"
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    columns = ["gain kept, %", "behind", "mean", "of experts, %", "worst task", "scale", "kept at 1", "s", "MB"]
    for column in [*columns, *(["unseen, against base"] if comparison.unseen else [])]:
        table.add_column(column, justify="right")
    table.add_row("experts", "100", "", figure(comparison, comparison.mean_of(comparison.experts)), "100")
    table.add_section()
    for row in comparison.rows:
        best = row.at_best
        unseen = f"{points(comparison, best.unseen_gain)} ± {points(comparison, best.unseen_spread)}"
        table.add_row(
            plain(row.name), kept(best.gain_kept, best.spread),
            f"{points(comparison, row.behind)} ± {points(comparison, row.behind_spread)}",
            figure(comparison, best.mean),
            percent(best.normalised), f"{plain(best.worst)} {percent(best.worst_normalised)}", f"{row.best_scale:g}",
            kept(row.at_one.gain_kept, row.at_one.spread), f"{row.seconds:.1f}", f"{row.memory / 1e6:.0f}",
            *([unseen] if comparison.unseen else []),
        )  # fmt: skip
    table.add_section()
    table.add_row("base", "0", "", figure(comparison, comparison.mean_of(comparison.base)))
    target = console()
    target.print(table)
    for table in regret_tables(comparison):
        shown = Table(f"{table.title}: loses", title="Scales without labels, against the validated one")
        for column in ("on average", "at worst"):
            shown.add_column(column, justify="right")
        for rule, mean, worst in zip(table.rules, table.mean, table.worst, strict=True):
            shown.add_row(rule, mean, worst)
        target.print(shown)
    if comparison.left_out:
        target.print(left_out_table(comparison))
    for sentence in [
        *summary(comparison),
        *left_out_sentences(comparison),
        least_regret(comparison),
        f"Took {duration(comparison.seconds)}.",
    ]:
        if sentence:
            target.print(plain(sentence), soft_wrap=True)
    for note in grouped(comparison.notes):
        target.print(f"note: {plain(note)}")


def print_estimate(estimate: dict[str, Any], as_json: bool) -> None:
    """Print what a comparison would do and take."""
    if as_json:
        typer.echo(json.dumps(estimate, indent=1))
        return
    target = console()
    target.print(f"compares {plain(', '.join(estimate['entries']))}")
    target.print(
        f"at {counted(len(estimate['scales']), 'scale')}: {', '.join(f'{scale:g}' for scale in estimate['scales'])}"
    )
    for split, counts in estimate["inputs"].items():
        target.print(f"{split}: {plain(', '.join(f'{task} {count:,}' for task, count in counts.items()))}")
    if estimate["unseen"]:
        target.print(f"unseen: {plain(', '.join(estimate['unseen']))}")
    for note in grouped(estimate["notes"]):
        target.print(f"note: {plain(note)}")
    target.print(
        f"merges {estimate['merges']} tensors by every method into at most {size(estimate['scratch_bytes'])} of "
        f"scratch space; with {counted(estimate['workers'], 'worker')} {about(estimate['seconds'])} "
        f"and at most {size(estimate['memory_bytes'])} of memory",
        soft_wrap=True,
    )
