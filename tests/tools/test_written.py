"""What `make stubs` writes is there, whole and current."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

import mergeometry as mg
from tools import api_page, stubs
from tools.surface import ROOT, classes, rendered

PACKAGES = ("methods", "refinements")


@pytest.fixture(scope="module")
def written() -> Mapping[Path, str]:
    return {**stubs.files(), **api_page.files()}


def test_what_is_written_is_current(written: Mapping[Path, str]) -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in written.items() if path.read_text("utf-8") != text]
    assert not stale, f"{', '.join(stale)}: not what the source says any more: run `make stubs`"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stub_has_the_signatures_that_run(package: str) -> None:
    tree = ast.parse((ROOT / f"src/mergeometry/{package}/__init__.pyi").read_text("utf-8"))
    constructors = {node.name: node.body[1] for node in tree.body if isinstance(node, ast.ClassDef)}
    assert sorted(constructors) == dir(getattr(mg, package))
    for name, kind in ((kind.__name__, kind) for kind in classes(package).values()):
        constructor = constructors[name]
        assert isinstance(constructor, ast.FunctionDef)
        parameters = inspect.signature(kind).parameters
        assert [given.arg for given in constructor.args.args] == ["self", *parameters]
        defaults = [ast.literal_eval(default) for default in constructor.args.defaults]
        assert defaults == [parameter.default for parameter in parameters.values()]


def test_the_page_names_the_whole_surface() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    kinds = {kind.__name__: (name, kind) for package in PACKAGES for name, kind in classes(package).items()}
    assert set(sections) == {*mg.__all__, *kinds} - set(PACKAGES)
    for title, (name, kind) in kinds.items():
        assert f"`{name}`" in sections[title]
        described = re.findall(r"^- `(\w+)` \(`.*`.*\): \w", sections[title], re.MULTILINE)
        assert described == list(inspect.signature(kind).parameters), title


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int | float | Literal["auto"], 'int | float | Literal["auto"]'),
        (float | None, "float | None"),
        (Literal[1, True], "Literal[1, True]"),
        (dict[str, tuple[int, ...]], "dict[str, tuple[int, ...]]"),
    ],
)
def test_types_are_written_as_in_source(hint: object, text: str) -> None:
    assert rendered(hint) == text


def test_a_type_that_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="Path"):
        rendered(Path)
