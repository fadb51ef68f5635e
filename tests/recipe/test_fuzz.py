"""Whatever stands in a recipe, the answer is a recipe or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry.errors import RecipeError
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.yaml import parse_yaml

KEYS = st.sampled_from(
    ["base", "models", "method", "scale", "other", "tensors", "heads", "adapt", "output", "seed", "name", "path",
     "weight", "match", "rank", "dtype", "shard_size", "adapter"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary()
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4) | st.integers(), inner),
    max_leaves=12,
)
PIECES = st.sampled_from(
    ["base: b", "models:", "  - m", "- ", "method: ", "ties", "{", "}", "[", "]", ",", ": ", "\n", "&a ", "*a", "!!s ",
     "!!binary ", "!!timestamp ", "!!omap ", "!!float ", "!!int ", "? ", "| ", "> ", "'", '"', "\\", "#", "---", "...",
     "%TAG ! x", "<<: ", "1e-3", "2001-01-01", ".nan", ".inf", "0x", "0o9", "\t", "  ", "=", "~", "\x85", "\u2028", "@"]
)  # fmt: skip


def read(text: str) -> None:
    try:
        found = parse_yaml(text)
        assert isinstance(load_recipe(found), Recipe) if isinstance(found, dict) else True
    except RecipeError as error:
        assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
def test_any_text(text: str) -> None:
    read(text)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_any_mapping(mapping: dict[str, Any]) -> None:
    try:
        recipe = load_recipe({"base": "b", "models": ["m"], "method": "average", **mapping})
        recipe.canonical()
    except RecipeError as error:
        assert str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    try:
        load_recipe(path)
    except RecipeError as error:
        assert str(error)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30) | st.lists(PIECES, max_size=10).map("".join))
def test_any_override(override: str) -> None:
    try:
        load_recipe({"base": "b", "models": ["m"], "method": "average"}, [override])
    except RecipeError as error:
        assert str(error)
