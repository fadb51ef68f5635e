"""The section of the page about `make bench-quick`: the ratios that a change is held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.pages.table import table


def regressions_section(result: Mapping[str, Any]) -> Iterator[str]:
    """The committed ratios, with what they were measured against."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    if kernels := machine.get("kernels"):
        versions += f"; OpenBLAS for {kernels}"
    yield "## Regressions: small rows against their committed ratios\n"
    yield f"""`make bench-quick` measures small versions of the rows above in a few minutes, each against a reference
that runs in the same rounds: the import of what both need, or a plain program of the same merge
(`benchmarks/speed/full_svd.py`), which neither checks nor hashes. It compares the ratios with these, and fails where
one is over {result["limit"]:g} times as large. Figures are processor seconds, user and system together, the least of
all rounds (here {result["rounds"]}), so that a busy machine disturbs them little; a row that looks slower is measured
again before it counts.

On a machine unlike this one, make a baseline there first, with `python -m benchmarks.speed.regressions --update
--baseline FILE`, and compare with it by the same command without `--update`. A change that is meant to take longer
rewrites this table by `python -m benchmarks.speed.regressions --update`, and its commit says why.
"""
    yield (
        f"{result['date']}, commit {result['commit']}, `{result['command']}`, {result['seconds']} s. {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; {versions}. "
        f"Load average before the first run: {machine['load_before']:.1f}.\n"
    )
    yield from table(
        ("row", "ours", "against", "takes", "ratio"),
        (
            (
                row["name"],
                f"{row['ours']['processor_s']:.2f} s",
                row["reference"]["name"],
                f"{row['reference']['processor_s']:.2f} s",
                f"{row['ratio']:.2f}",
            )
            for row in result["rows"]
        ),
    )
    yield "<details><summary>Commands</summary>\n\n```"
    for row in result["rows"]:
        yield f"# {row['name']}\n{row['ours']['command']}\n{row['reference']['command']}"
    yield "```\n\n</details>\n"
