"""Tests stand in the rooms of what they test, and share nothing but helpers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FILES = sorted(TESTS.rglob("*.py"))
# What is shared, what attacks the whole, what is built, the files around the code, outputs in their own libraries.
OTHERS = {"helpers", "crash", "hostile", "outputs", "packaging", "project"}


def folders(place: Path) -> set[str]:
    """Folders that hold files of their own: caches and what an editor leaves hold none in Python."""
    return {folder.name for folder in place.iterdir() if folder.is_dir() and any(folder.glob("*.py"))}


def imported(source: str) -> Iterator[str]:
    """Every module that a file imports from tests; a relative import counts as one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # What is imported may be a module itself: `from tests import helpers`.
            parts = ["tests"] * bool(node.level) + [node.module] * bool(node.module)
            names = [".".join([*parts, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "tests")


def test_every_folder_is_named_after_a_room_or_a_folder_of_the_repository() -> None:
    rooms = folders(ROOT / "src" / "mergeometry")
    around = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"src", "tests"}
    assert folders(TESTS) - rooms - around - OTHERS == set()


def test_every_folder_of_the_suites_tests_is_named_after_one_of_its_rooms() -> None:
    assert folders(TESTS / "suite") - folders(ROOT / "suite" / "mergeometry_suite") == set()


def test_no_file_imports_from_tests_but_from_helpers() -> None:
    found = {path.relative_to(TESTS).as_posix(): list(imported(path.read_text("utf-8"))) for path in FILES}
    others = {path: [name for name in names if name.split(".")[1] != "helpers"] for path, names in found.items()}
    assert {path: names for path, names in others.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from tests.sink.test_race import merge", ["tests.sink.test_race.merge"]),
        ("from tests import conftest, helpers", ["tests.conftest", "tests.helpers"]),
        ("def late():\n    import tests.docs.conftest", ["tests.docs.conftest"]),
        ("from . import settings", ["tests.settings"]),
        ("from ..helpers.models import loaded\nimport testsuite", ["tests.helpers.models.loaded"]),
    ],
)
def test_imports_are_found_in_every_form(source: str, names: list[str]) -> None:
    assert list(imported(source)) == names
