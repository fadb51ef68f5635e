"""What a command imports: the libraries of arithmetic only where it computes, and each once."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from mergeometry.cli.commands import OWN, function_of
from mergeometry.cli.extensions import GROUP, SUITE
from mergeometry.cli.later import built
from tests.helpers.models import random_tensors, tuned, write_model

STEPS = """
import json, sys
from typer.testing import CliRunner
from mergeometry.cli.app import app
heavy = "torch", "numpy", "scipy", "transformers", "pandas", "huggingface_hub", "cloudpickle"
for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words)
    print(json.dumps([done.exit_code, [name for name in heavy if name in sys.modules], done.output]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("startup")
    base = random_tensors(0)
    write_model(place / "base", base)
    for seed in (1, 2):
        write_model(place / f"m{seed}", tuned(base, seed))
    (place / "recipe.yaml").write_text("base: base\nmodels: [m1, m2]\nmethod: average\n")
    (place / "directions.yaml").write_text("base: base\nmodels: [m1, m2]\nmethod: dc_merge\nscale: auto\n")
    (place / "mergekit.yaml").write_text(
        "merge_method: ties\nbase_model: base\ndtype: float32\nmodels:\n"
        "- {model: m1, parameters: {weight: 1.0, density: 0.5}}\n"
        "- {model: m2, parameters: {weight: 1.0, density: 0.5}}\n"
    )
    return place


ALONE = """
import runpy, sys
sys.argv = ["mergeometry", *sys.argv[1:]]
try:
    runpy.run_module("mergeometry", run_name="__main__")
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def modules_of(*words: str, folder: Path) -> set[str]:
    """All modules that a process has loaded which runs one command."""
    done = subprocess.run([sys.executable, "-c", ALONE, *words], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def imported(folder: Path, *commands: list[str]) -> list[tuple[int, list[str], str]]:
    """The status of each command, the heavy libraries that were loaded by then, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        input=json.dumps(commands),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_what_computes_nothing_imports_no_library_of_arithmetic(folder: Path) -> None:
    commands = [
        ["--help"], ["--version"], ["merge", "--help"], ["merge", "--nope"], ["methods"], ["methods", "--json"],
        ["methods", "ties"], ["plan", "recipe.yaml"], ["plan", "directions.yaml", "--tensors"],
        ["plan", "mergekit.yaml", "--json"], ["import-recipe", "mergekit.yaml"], ["clean", "merged"],
    ]  # fmt: skip
    for words, (status, libraries, printed) in zip(commands, imported(folder, *commands), strict=True):
        assert status == (2 if "--nope" in words else 0), printed
        assert libraries == [], f"mergeometry {' '.join(words)} imports {', '.join(libraries)}"


def test_a_sum_needs_neither_scipy_nor_worker_processes(folder: Path) -> None:
    (status, libraries, printed), directional = imported(
        folder,
        ["merge", "recipe.yaml", "--output", "sum"],
        ["merge", "directions.yaml", "--output", "directions"],
    )
    assert (status, libraries) == (0, ["torch", "numpy"]), printed
    assert directional[:2] == (0, ["torch", "numpy", "scipy"]), directional[2]


def test_the_lines_of_help_that_stand_for_the_commands_are_those_of_their_own_help() -> None:
    for name, (_, line) in OWN.items():
        command = built(function_of(name), name)
        assert command.help.split("\n\n")[0] == line
        assert command.name == name


def test_the_list_of_commands_imports_little(folder: Path) -> None:
    loaded = modules_of("--help", folder=folder)
    own = {name for name in loaded if name.partition(".")[0] in {"mergeometry", "mergeometry_suite"}}
    assert own == {
        "mergeometry", "mergeometry.cli", "mergeometry.cli.app", "mergeometry.cli.commands",
        "mergeometry.cli.extensions", "mergeometry.cli.later", "mergeometry.cli.show", "mergeometry.cli.signals",
        "mergeometry.cli.streams", "mergeometry.errors", "mergeometry.grouping", "mergeometry.words",
    }  # fmt: skip
    others = {name.partition(".")[0] for name in loaded}
    assert not others & {"rich", "pydantic", "ruamel", "jinja2", "torch", "numpy"}


def test_a_plan_imports_nothing_that_writes_pages(folder: Path) -> None:
    loaded = {name.partition(".")[0] for name in modules_of("plan", "recipe.yaml", folder=folder)}
    assert not loaded & {"torch", "numpy", "scipy", "transformers", "huggingface_hub", "jinja2", "loky"}


def test_the_lines_of_the_suite_are_those_of_its_own_help() -> None:
    offered = {entry.name: entry.load() for entry in entry_points(group=GROUP) if entry.name in SUITE}
    assert {name: built(command, name).help.split("\n\n")[0] for name, command in offered.items()} == SUITE
