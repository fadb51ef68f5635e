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
trust it: directions that are an eighth of all are too many for it. A Gram matrix of float32 halves takes four products
of half the time, where float64 takes one triangle of one, and still rounds its sums. torch's solver of all eigenvectors
takes longer than LAPACK's reduction with the wanted ones alone, whose reduction runs near the processor's peak: what is
left of a decomposition is arithmetic.

The stacked directions of 8 models are of a bad condition, which decides on polar factors. Newton-Schulz takes dozens of
products; Newton's iteration with scaling and QDWH (by reflections, and Cholesky factors at the end) take a few inverses
or factors, each of which takes as long as half of the eigenvectors, and are slower in float32 too. In
float32 the eigenvectors themselves lose the small directions, and a step of Newton-Schulz does not bring them back.
LAPACK's two-stage reduction to a tridiagonal matrix gives no eigenvectors.

What did help: no scaled copy of a matrix whose squares are in range (a few per cent of a merge); for adapters, one
eigen-decomposition a side in place of a Cholesky factor, reflections and a polar factor; for `dc_merge` and
`own_blocks`, products by the tasks' blocks and, of the symmetric ones, half (an eighth of `dc_merge` after the
decompositions); and, for a second recipe on the same models, [directions that the first has kept](known-directions.md).
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
