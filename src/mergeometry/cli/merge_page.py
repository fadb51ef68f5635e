"""The page beside a merge's output: made once the output is in its place, which it cannot spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from mergeometry.cli.streams import say
from mergeometry.errors import MergeometryError, printable
from mergeometry.garbage import uncollected

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.execution.executor import Executor
    from mergeometry.sink import RunRecord

VARIABLE = "MERGEOMETRY_REPORT"

ReportOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report",
        envvar=VARIABLE,
        show_default="report, unless the recipe says otherwise",
        help="Write a page on the merge into OUTPUT-report, in two seconds at most or a tenth of the merge's time.",
    ),
]


def write_page(
    output: Path,
    record: RunRecord,
    *,
    memory_limit: str | None,
    events: Events | None,
    quiet: bool,
    executor: Executor,
) -> Path | None:
    """Write the page on a published output, and return where it is; None, with one line that says why, if it fails.

    Raises:
        MergeometryError: Ctrl-C or a signal ends it; the output is whole.
    """
    from mergeometry.inspection.own_folder import PAGE, page_folder

    folder = page_folder(output)
    try:
        _write(output, folder, record, memory_limit, executor)
    except KeyboardInterrupt as error:
        text = "interrupted while the page was written; the output is in its place, and whole"
        raise MergeometryError(text, file=str(output)) from error
    except Exception as error:  # the merge is done, and nothing that the page meets is a failure of it
        reason = error.what if isinstance(error, MergeometryError) else f"{type(error).__name__}: {error}"
        problem = f"the page {folder / PAGE} was not written: {reason}"
        if events is not None:
            events("page", output=str(output), problem=problem)
        elif not quiet:
            say(f"note: {printable(problem)}; the output is whole")
        return None
    if events is not None:
        events("page", output=str(output), page=str(folder / PAGE))
    return folder / PAGE


@uncollected()
def _write(output: Path, folder: Path, record: RunRecord, memory_limit: str | None, executor: Executor) -> None:
    from mergeometry.feature_figures.scores import with_scores
    from mergeometry.inspection.after import report_on
    from mergeometry.inspection.budget import Budget
    from mergeometry.inspection.own_folder import FIGURES, PAGE, refuse_foreign_folder, write_files
    from mergeometry.report.inspection import inspection_page

    refuse_foreign_folder(folder, [Path(one.path) for one in record.inputs])
    budget = Budget.after(record, memory_limit)
    # In the workers of the merge, if it had any: this process has not loaded torch then.
    workers = min(2, record.decisions.get("workers", {}).get("chosen", 1))
    measured = report_on(output, workers=workers, memory_limit=memory_limit, budget=budget, executor=executor)
    document = with_scores(measured, None, output).to_json()
    figures = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_files(folder, {FIGURES: figures, PAGE: inspection_page(document)})
