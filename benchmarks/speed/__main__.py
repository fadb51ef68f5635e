"""The command line: ``python -m benchmarks.speed [NAME...] [--quick]``."""

from __future__ import annotations

import argparse
import compileall
import json
import shlex
import sys
import time
from pathlib import Path

from benchmarks.pages.page import write_page
from benchmarks.speed import (
    adapters,
    elementwise,
    full,
    llama,
    peers,
    rotations,
    second_recipe,
    startup,
    suite_commands,
)
from benchmarks.speed.environments import EnvironmentFailedError
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from benchmarks.speed.settings import Settings

BENCHMARKS = {
    "adapters": adapters,
    "full": full,
    "second": second_recipe,
    "elementwise": elementwise,
    "llama": llama,
    "peers": peers,
    "rotations": rotations,
    "startup": startup,
    "suite": suite_commands,
}
TITLES = {name: module.TITLE for name, module in BENCHMARKS.items()}
WITHOUT_MODELS = ("llama", "peers", "rotations", "startup", "suite")
"""Benchmarks that merge nothing, or use their own models."""
OWN_MODELS = ("adapters",)
"""Benchmarks that write models of the same size themselves."""


def main(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    work = given.work or ROOT / "benchmarks" / "scratch"
    # A quick run is not a measurement: its page is kept apart from the published one.
    kept = work / "quick" if given.quick else ROOT / "benchmarks"
    results = given.results or kept / "results"
    page = given.page or (kept / "benchmarks.md" if given.quick else ROOT / "docs" / "benchmarks.md")
    outputs = work / "quick" if given.quick else work  # so that a quick run can go on during a measurement
    repeats, slow = (1, 1) if given.quick else (given.repeats, given.slow_repeats)
    settings = Settings(outputs.resolve(), results.resolve(), given.quick, repeats, slow)
    # As pip does where it installs a package, ours or a peer's. A checkout is compiled when it is first imported, and
    # at every start where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(ROOT / "src" / "mergeometry", quiet=2)
    for name in given.names or BENCHMARKS:
        say(f"{name}: {BENCHMARKS[name].TITLE}")
        merges = name not in WITHOUT_MODELS
        if merges and name not in OWN_MODELS:
            settings.models()
        found, started = circumstances(), time.monotonic()
        try:
            measured = BENCHMARKS[name].run(settings)
        except EnvironmentFailedError as error:
            sys.exit(str(error))
        finally:  # one that keeps its results as they come may have some, though it was interrupted
            write_page(results, page, TITLES)
        if measured is None:
            continue
        command = shlex.join(["python", "-m", "benchmarks.speed", *arguments])
        result = {
            "benchmark": name,
            "command": command,
            **found,
            "settings": settings.describe() if merges else {"quick": given.quick},
            "seconds": round(time.monotonic() - started),
            **measured,
        }
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        write_page(results, page, TITLES)
        for reached in measured["goals"]:
            say(f"  {'met' if reached['met'] else 'MISSED'}: {reached['goal']}: {reached['figure']:.3g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one run: shows that everything works")
    parser.add_argument("--repeats", type=int, default=5, help="runs of commands that take seconds (default 5)")
    parser.add_argument("--slow-repeats", type=int, default=3, help="runs of those that take minutes (default 3)")
    parser.add_argument("--work", type=Path, help="where models and outputs are written (default benchmarks/scratch)")
    parser.add_argument("--results", type=Path, help="where the JSON goes (default benchmarks/results)")
    parser.add_argument("--page", type=Path, help="the page to rewrite (default docs/benchmarks.md)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
