"""A file that somebody else put in the place of a small one is neither waited for nor read without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mergeometry.comparison.harness_tasks import read_harness
from mergeometry.comparison.kept import read_comparison
from mergeometry.comparison.store import Store
from mergeometry.comparison.tasks_file import LabelledSource
from mergeometry.errors import RecipeError, SourceError
from mergeometry.inspection.curves import CURVES, curves_of
from mergeometry.recipe.files import text_of
from mergeometry.regular_files import read_regular
from mergeometry.sink import read_record
from mergeometry.sink.own_folder import has_keys
from mergeometry.sink.page import read_object
from tests.helpers.commands import invoke

KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(path, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    for name in ("mergeometry.json", CURVES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        KINDS[kind](tmp_path / name)
    path = tmp_path / "mergeometry.json"
    with pytest.raises(OSError):
        read_regular(path, 100)
    with pytest.raises(SourceError, match="the run record cannot be read") as caught:
        read_record(tmp_path)
    assert caught.value.file == str(path)
    assert read_object(path) is None and not has_keys(path, []) and curves_of(tmp_path) == ()
    assert Store(tmp_path, "").read("mergeometry") is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_user_names_may_be_none_either(kind: str, tmp_path: Path) -> None:
    """Recipes, tasks, lists of methods, tasks of lm-evaluation-harness, comparisons and keys, all of them by name."""
    place = tmp_path / "given.yaml"
    KINDS[kind](place)
    with pytest.raises(RecipeError, match="the recipe cannot be read") as caught:
        text_of(place, "the recipe")
    assert caught.value.file == str(place) and bool(caught.value.hint) == (kind == "pipe")
    for command in (
        ("plan", place), ("import-recipe", place), ("mixture", place, "--dry-run"),
        ("evaluate", tmp_path, "--tasks", place), ("compare", place, "--tasks", place),
    ):  # fmt: skip
        refused = invoke(*command)
        assert refused.exit_code == 1 and str(tmp_path) in refused.output, refused.output
    with pytest.raises(SourceError, match="the comparison cannot be read"):
        read_comparison(place)
    with pytest.raises(RecipeError, match="no task is named 'first'"):
        (tmp_path / "tokenizer.json").touch()
        read_harness(LabelledSource(lm_eval="first", include_path=str(tmp_path)), "causal", tmp_path)
