"""A cached score is read as long as all code behind it is what it was, and no longer."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.activations.collect import collect
from mergeometry.cli.compare import compare
from mergeometry.code_digest import CodeDigest
from mergeometry.comparison.entries import read_entries
from mergeometry.comparison.read_inputs import TEST
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.setup import Setup, set_up
from mergeometry.comparison.store import Store
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.encoders.heads import Head
from mergeometry.errors import OutputError
from mergeometry.execution.task_vectors import merged_delta
from mergeometry.inputs.labels import read_labelled
from mergeometry.linalg.rotations import closest_rotation_of_factors
from mergeometry.linalg.svd import top_directions
from mergeometry.methods.dare import Dare
from mergeometry.methods.families.directional import rank_of
from mergeometry.methods.mda import MDA
from mergeometry.methods.tsv_m import TSVM
from mergeometry.refinements.svc import SVC
from mergeometry.report.comparison_page import comparison_page
from tests.helpers import learning_models
from tests.helpers.labelled_tasks import written

SOURCE = Path(inspect.getsourcefile(mg) or "").parent
ENTRIES = "dare, tsv_m, tsv_m + svc, iso_c, regmean"
ALL = set(ENTRIES.split(", "))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    recipe = learning_models.family(folder)
    recipe["data"] = {"tasks": {task["name"]: task["data"] for task in recipe["adapt"]["tasks"]}}
    return written(folder, recipe)


@pytest.fixture(scope="module")
def setup(family: Path) -> Setup:
    entries, _ = read_entries(ENTRIES)
    return set_up(
        mg.load_recipe(family / "recipe.yaml"), entries, load_tasks(family / "tasks.yaml"), (), everything=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's source in another folder."""
    shutil.copytree(SOURCE, tmp_path / "source" / "mergeometry", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "source"


def keys(setup: Setup, source: Path) -> dict[str, tuple[str, str]]:
    """What each entry's score is kept by, for the code in a folder."""
    cache = ResultCache(setup, source, CodeDigest({"mergeometry": source}))
    return {entry.name: (cache.identity, cache.point(place, 1.0, TEST)) for place, entry in enumerate(setup.entries)}


@pytest.fixture(scope="module")
def before(setup: Setup) -> dict[str, tuple[str, str]]:
    return keys(setup, SOURCE.parent)


def test_where_the_code_lies_does_not_count(setup: Setup, before: dict[str, tuple[str, str]], copy: Path) -> None:
    assert keys(setup, copy) == before


def edit(source: Path, function: Callable[..., Any], old: str = "", new: str = "  # changed") -> None:
    """Change the last line of a function in the copied source, at its end or where it says ``old``."""
    function = inspect.unwrap(function)  # from the check of shapes in tests
    file = source / "mergeometry" / Path(inspect.getsourcefile(function) or "").relative_to(SOURCE)
    lines, first = inspect.getsourcelines(function)
    text = file.read_text("utf-8").splitlines(keepends=True)
    last = first + len(lines) - 2
    assert text[last] == lines[-1] and old in lines[-1]
    text[last] = lines[-1].replace(old, new) if old else lines[-1].rstrip("\n") + new + "\n"
    file.write_text("".join(text), "utf-8")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Head.predict, ALL),
        (top_directions, ALL),
        (rank_of, ALL),
        (read_labelled, ALL),
        (merged_delta, ALL),
        (Dare.drop, ALL),
        (Dare.merge, {"dare"}),
        (TSVM.merge, {"tsv_m", "tsv_m + svc"}),
        (SVC.apply, {"tsv_m + svc"}),
        (collect, {"regmean"}),
        (MDA.merge, set()),
        (closest_rotation_of_factors, set()),
        (comparison_page, set()),
        (compare, set()),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_a_changed_line_makes_those_scores_stale_that_depend_on_it(
    setup: Setup, before: dict[str, tuple[str, str]], copy: Path, function: Callable[..., Any], expected: set[str]
) -> None:
    edit(copy, function)
    after = keys(setup, copy)
    assert {name for name in ALL if after[name] != before[name]} == expected


def test_a_changed_page_makes_none_stale(setup: Setup, before: dict[str, tuple[str, str]], copy: Path) -> None:
    (copy / "mergeometry" / "report" / "comparison.html.jinja").write_text("<p>other</p>")
    assert keys(setup, copy) == before


COMPARE = """
import json, sys
import mergeometry as mg
told = [mg.__file__]
for _ in range(int(sys.argv[4])):
    steps = []
    found = mg.compare(sys.argv[1], "average", sys.argv[2], output=sys.argv[3], scales=[1.0], workers=1,
                       say=lambda text, *_: steps.append(text))
    told.append([found.base, steps])
print(json.dumps(told))
"""


@pytest.mark.suite
def test_a_changed_prediction_is_scored_anew(family: Path, copy: Path, tmp_path: Path) -> None:
    def compared(times: int) -> list[tuple[dict[str, float], list[str]]]:
        done = subprocess.run(
            [sys.executable, "-c", COMPARE, family / "recipe.yaml", family / "tasks.yaml", tmp_path / "out",
             str(times)],
            capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        file, *told = json.loads(done.stdout.splitlines()[-1])
        assert Path(file).is_relative_to(copy)
        return told

    (base, steps), (again, nothing) = compared(2)
    assert "average at 1 on test inputs" in steps
    assert (again, nothing) == (base, [])
    edit(copy, Head.predict, "argmax", "argmin")
    ((other, steps),) = compared(1)
    assert "average at 1 on test inputs" in steps
    assert other != base


def test_a_kept_result_that_is_damaged_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path, "one")
    result = {1: [0.5, float("inf")], "notes": ["a"]}
    store.write("row", result)
    place, plain = tmp_path / "row.json", {"1": [0.5, float("inf")], "notes": ["a"]}
    assert store.read("row") == plain
    content = place.read_text()
    for wrong in (content.replace("0.5", "0.6"), "[" * 100_000, "[]", "null", content[:-9], '{"identity": "one"}'):
        place.write_text(wrong)
        assert store.read("row") is None
    place.write_text(json.dumps({"identity": "one", "result": plain}))
    assert store.read("row") == plain, "as earlier versions kept it"


def test_a_disk_that_refuses_a_score_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")
    with pytest.raises(OutputError, match="a finished result cannot be kept"):
        Store(tmp_path / "taken", "state").write("score", 1)
