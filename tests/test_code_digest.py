"""A digest changes with every file that an import leads to, and with no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mergeometry.code_digest import CodeDigest

FILES = {
    "house/__init__.py": "from house import porch\n",
    "house/porch.py": "LIGHT = 1\n",
    "house/door.py": "import os\nfrom typing import TYPE_CHECKING\nfrom house.hall import HALL, attic\n"
    "if TYPE_CHECKING:\n    from house import typed\nelse:\n    from house import untyped\n"
    "def open():\n    from .rooms.kitchen import cook\n    return 'house.cellar', 'no.module'\n",
    "house/hall/__init__.py": "HALL = 1\n",
    "house/hall/attic.py": "from house.roof import tiles\n",
    "house/roof/__init__.py": "from ..chimney import smoke\n",
    "house/roof/tiles.py": "",
    "house/chimney.py": "import garden.tools.spade\nsmoke = 1\n",
    "house/rooms/__init__.py": "from house.rooms import pantry\n",
    "house/rooms/pantry.py": "",
    "house/rooms/kitchen.py": "from garden import herbs\nfrom house import door\n",
    "house/cellar.py": "",
    "house/typed.py": "",
    "house/untyped.py": "",
    "house/shed.py": "from house import door\n",
    "garden/herbs.py": "from house import seeds\n",
    "garden/tools/__init__.py": "from garden import fence\n",
    "garden/tools/spade.py": "",
    "garden/fence.py": "",
    "house/seeds.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path


def door(folder: Path) -> str:
    return CodeDigest({"house": folder, "garden": folder}).of(["house.door"])


APART = {"house/typed.py", "house/shed.py", "house/rooms/pantry.py"}
"""Named to type checkers alone, an importer of the door, and a name of a package that nothing takes from there."""


@pytest.mark.parametrize("name", FILES)
def test_whatever_an_import_leads_to_counts(folder: Path, name: str) -> None:
    before = door(folder)
    (folder / name).write_text(FILES[name] + "# changed\n")
    assert (door(folder) == before) is (name in APART)


def test_code_that_was_looked_through_is_not_parsed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = door(folder)
    monkeypatch.setattr(ast, "parse", None)
    assert door(folder) == before


def test_where_the_code_lies_does_not_count(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = tmp_path_factory.mktemp("elsewhere") / "again"
    before = door(folder)
    folder.rename(moved)
    assert door(moved) == before


def test_a_module_that_is_not_there_is_no_empty_digest(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"house\.window"):
        CodeDigest({"house": folder}).of(["house.door", "house.window"])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        CodeDigest.of_installed("no_such_package")


OFFERED = """
import sys
from mergeometry.code_digest import CodeDigest
from offered import Offered
print(CodeDigest.of_installed("mergeometry").of_classes([Offered]))
"""


def test_a_class_of_another_package_counts_with_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "offered").mkdir()
    (tmp_path / "offered" / "__init__.py").write_text("from offered.more import number\nclass Offered: pass\n")
    digests = []
    for number in (1, 22, 22):
        (tmp_path / "offered" / "more.py").write_text(f"number = {number}\n")
        done = subprocess.run(
            [sys.executable, "-c", OFFERED], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout)
    assert digests[0] != digests[1] == digests[2]
