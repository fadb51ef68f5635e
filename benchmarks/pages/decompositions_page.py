"""The section on where a directional merge's time goes, and what other ways to decompose take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.pages.table import table

TEXT = """## Where a directional merge's time goes, and other ways that were tried

Processor milliseconds of one thread, the least of some rounds, on task vectors as above: the steps of one
decomposition of 96 directions, and of one polar factor of 8 times 96, by the way that merges take and by others.
`tsv_m` of 8 models takes 8 of the former and 2 of the latter for each matrix. Errors are relative to float64: of the
matrix that the directions stand for, and of the polar factor.

None of the other ways is taken. Float32 alone saves a fifth of a decomposition, and gives up small directions: it
squares singular values, so that those below a 3,000th of the largest are lost in its rounding, where merges resolve a
millionth. Corrected in float64 it saves nothing; nor does a Chebyshev filter, though its residual would say whether to
trust it: directions that are an eighth of all are too many for it. Newton-Schulz takes dozens of products, since the
stacked directions of 8 models in a square matrix are of a bad condition. LAPACK's two-stage reduction to a tridiagonal
matrix gives no eigenvectors. A cache of directions on the disk, by the content of the models, would spare a second
recipe the decompositions alone: their files would take half the space of the models, polar factors, reading and hashing
would remain, and `compare` shares decompositions among its methods already. What did help: no scaled copy of a matrix
whose squares are in range (a few per cent of a merge), and, for adapters, one eigen-decomposition a side in place
of a Cholesky factor, reflections and a polar factor.
"""


def decompositions_section(result: Mapping[str, Any]) -> Iterator[str]:
    """The text, the circumstances, and a line for each step and each way."""
    machine = result["machine"]
    yield TEXT
    yield (
        f"{result['date']}, commit {result['commit']}, `{result['command']}`. {machine['cpu']}, {machine['cores']} "
        f"cores. Load average before: {machine['load_before']:.1f}.\n"
    )
    yield from table(("matrix", "what", "milliseconds", "error"), (_row(row) for row in result["rows"]))


def _row(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    error = "-" if row["error"] is None else f"{row['error']:.0e}"
    return "x".join(map(str, row["shape"])), row["way"], f"{row['ms']:.0f}", error
