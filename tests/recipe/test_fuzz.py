"""Whatever stands in a recipe, the answer is a recipe or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry.errors import RecipeError
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.mergekit.methods import METHODS
from mergeometry.recipe.yaml import parse_yaml
from tests.helpers.fuzz_targets import CASES

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


@settings(max_examples=CASES, deadline=None)
@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
def test_any_text(text: str) -> None:
    read(text)


@settings(max_examples=CASES, deadline=None)
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


THEIRS = st.sampled_from(
    ["models", "slices", "modules", "base_model", "parameters", "dtype", "tokenizer_source", "tokenizer",
     "chat_template", "model", "layer_range", "sources", "weight", "density", "t", "filter", "value", "lora", "path",
     "revision", "source", "tokens", "kind", "default", "normalize", "lambda"]
)  # fmt: skip
THEIR_VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from(["a", "b", "union", "zero", "model_token", "a+b@c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(THEIRS | st.text(max_size=4) | st.integers(), inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(METHODS)), st.dictionaries(THEIRS, THEIR_VALUES), st.dictionaries(THEIRS, THEIR_VALUES))
def test_any_mergekit_recipe(method: str, mapping: dict[str, Any], settings_of_one: dict[str, Any]) -> None:
    models = [{"model": "a", "parameters": settings_of_one}, {"model": "b"}, {"model": "c"}]
    small = {"merge_method": method, "base_model": "b", "models": models, "parameters": {"weight": 1, "t": 0.5}}
    for given_keys in ({**small, **mapping}, {**mapping, "merge_method": method}):
        try:
            assert isinstance(load_recipe(given_keys), Recipe)
        except RecipeError as error:
            assert str(error)
