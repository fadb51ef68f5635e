"""Runs the examples of the README and of docs/ as they stand, against small real models of the names used there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mergeometry.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONG = (
    "adapters.md",
    "cluster.md",
    "comparing.md",
    "heads.md",
    "in-memory.md",
    "language-models.md",
    "layers.md",
    "learning.md",
    "mixtures.md",
    "recipes.md",
    "run-record.md",
    "suites.md",
)
"""Pages whose examples take more than four seconds; the README's run with every test all the same."""
BLOCK = re.compile(r"^```(\w+)(?: ([\w.-]+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_RUN = (
    "make ",
    "pip ",
    "mergeometry demo",
    "mergeometry suite train",
    "#",
    "git ",
    "cd ",
    "python -m benchmarks.speed",
)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(page.read_text("utf-8"))


def test_pages_have_examples() -> None:
    assert sum(len(blocks(page)) for page in PAGES) > 10


@pytest.fixture
def one_core() -> Iterator[None]:
    """Let what would start a process per core do its work in this one: the models are tiny, a process loads torch."""
    if not hasattr(os, "sched_setaffinity"):  # not on Linux: as many processes as cores, with the same results
        yield
        return
    allowed = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {allowed[worker % len(allowed)]})
    yield
    os.sched_setaffinity(0, allowed)


def _in_its_run(page: Path) -> Any:
    return pytest.param(page, id=page.name, marks=[pytest.mark.suite] if page.name in LONG else [])


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("page", [_in_its_run(page) for page in PAGES])
def test_examples_of_a_page_run(page: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)
    python = [body for language, _, body in blocks(page) if language == "python"]
    for language, name, body in blocks(page):
        if language == "yaml" and name:
            (models / name).write_text(body, "utf-8")
        if language == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith(NOT_RUN):
                    words = shlex.split(line, comments=True)
                    assert words[0] == "mergeometry", f"{page.name}: {line}"
                    # Not a process each: starting one takes longer than most examples do.
                    done = CliRunner().invoke(app, words[1:])
                    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    if python:
        (models / "example.py").write_text("\n".join(python), "utf-8")
        run([sys.executable, "example.py"], models)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
