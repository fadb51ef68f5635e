"""Every row of the page of situations names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "situations.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    """The rows of all tables, without headings and rules."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [line for line in lines if not re.match(r"\| (---|situation) \|", line)]


@pytest.mark.parametrize("row", rows())
def test_a_row_names_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row)
    assert named, row
    for file, test in named:
        functions = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
        assert test in functions, f"{file}::{test}"
