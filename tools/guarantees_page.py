"""Writes docs/guarantees.md: each promise with its tests, and the figures of the last ``make torture``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.promises import PROMISES, Promise
from tools.surface import ROOT

FIGURES = ROOT / "tools/guarantees.json"
_PATH = ROOT / "docs/guarantees.md"
_SLOWEST = 10
"""Seconds after which the fuzzer, which slows a parser several times, counts an input as hanging."""

_INTRODUCTION = """
# Guarantees and their tests

[What a merge promises](safety.md) says it in words; this page, written by `make stubs`, names the tests that hold each
promise. Most run with every change. `make torture` runs the long ones, in minutes; their last figures are below.
`make fuzz` has atheris look for half an hour for files that a parser falls over. `python -m tests.helpers.hostile`
tries {tricks} hostile files, one per trick, and says of each what it tries.
"""
_FURTHER = """
## Surroundings

A merge survives a home or cache that cannot be written, clocks that jump, the lock of a dead run and few open files, or
says what is wrong: [what happens with your files](situations.md#damaged-hostile-and-unusual-input) lists these with
their tests.
"""


def files() -> dict[Path, str]:
    """The page's path and text."""
    figures = json.loads(FIGURES.read_text("utf-8"))
    lines = [_INTRODUCTION.strip().format(tricks=_tricks()), "", *_promises(), "", *_last(figures)]
    return {_PATH: "\n".join(lines) + "\n" + _FURTHER}


def _tricks() -> int:
    folder = ROOT / "tests/helpers/hostile"
    return sum(path.read_text("utf-8").count("\n@trick(") for path in folder.glob("*.py"))


def _promises() -> Iterator[str]:
    yield "| # | promise | figure to reach | tests |"
    yield "| --- | --- | --- | --- |"
    for number, row in enumerate(PROMISES, 1):
        tests = ", ".join(f"`{test}`" for test in row.tests)
        yield f"| {number} | {row.promise} | {row.figure} | {tests} |"


def _last(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## Last figures"
    yield ""
    yield f"`make torture` on {figures['date']}, commit `{figures['commit']}`, {figures['machine']}."
    yield "A long test that has no figures below has not run since it was written."
    yield ""
    yield "| # | test | case | figures |"
    yield "| --- | --- | --- | --- |"
    for number, row in enumerate(PROMISES, 1):
        for test in row.tests:
            for case, values in _cases(figures["figures"], test):
                shown = "; ".join(f"{name} {_shown(value)}" for name, value in values.items())
                yield f"| {number} | `{test}` | {case} | {shown} |"
    if (fuzzed := figures.get("fuzzing")) is not None:
        counts = ", ".join(f"{count:,} of the {name}" for name, count in fuzzed["inputs"].items())
        yield ""
        yield (
            f"`make fuzz` on {fuzzed['date']}, commit `{fuzzed['commit']}`, {fuzzed['seconds'] / 60:.0f} minutes: "
            f"{counts}."
        )
        yield f"No input ended in anything but our own errors, and none took {_SLOWEST} seconds of the slowed parser."


def _cases(figures: Mapping[str, Mapping[str, Any]], test: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, values in figures.items():
        whole, _, case = name.partition("[")
        if whole == test:
            yield case.removesuffix("]"), values


def _shown(value: float) -> str:
    return f"{value:,}"


def named(promises: tuple[Promise, ...] = PROMISES) -> set[str]:
    """Every test that a promise names."""
    return {test for row in promises for test in row.tests}
