"""Names of a model and of its base are paired up to one common prefix."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.plan import matching
from mergeometry.plan.matching import Nearest, Prefix, match_names, module_ends

BASE = ["embeddings.w", "encoder.layer.0.w", "encoder.layer.1.w", "pooler.w"]


def test_equal_names() -> None:
    match = match_names(BASE, BASE, ())
    assert match.prefix == Prefix() and match.pairs == dict(zip(BASE, BASE, strict=True))
    assert match.prefix.describe() == "" and not (match.missing or match.extra or match.heads)


def test_a_model_with_a_prefix_and_a_head() -> None:
    own = [*(f"bert.{name}" for name in BASE), "classifier.weight"]
    match = match_names(BASE, own, ("classifier.*",))
    assert match.prefix == Prefix(model="bert.") and "begin with 'bert.'" in match.prefix.describe()
    assert match.pairs["pooler.w"] == "bert.pooler.w"
    assert match.heads == ("classifier.weight",) and not (match.missing or match.extra)


def test_a_base_with_a_prefix() -> None:
    base = [*(f"model.bert.{name}" for name in BASE), "model.cls.w"]
    match = match_names(base, BASE, ())
    assert match.prefix == Prefix(base="model.bert.") and "lack the base's 'model.bert.'" in match.prefix.describe()
    assert match.missing == ("model.cls.w",)


def test_one_prefix_only() -> None:
    own = ["a.embeddings.w", "b.encoder.layer.0.w", "a.encoder.layer.1.w", "a.pooler.w"]
    match = match_names(BASE, own, ())
    assert match.prefix == Prefix(model="a.")
    assert match.extra == ("b.encoder.layer.0.w",) and match.missing == ("encoder.layer.0.w",)


def test_names_without_the_prefix_are_paired_where_they_are_equal() -> None:
    own = [*(f"vit.{name}" for name in BASE), "classifier.w"]
    match = match_names([*BASE, "classifier.w"], own, ())
    assert match.pairs["classifier.w"] == "classifier.w" and match.pairs["pooler.w"] == "vit.pooler.w"
    assert not (match.missing or match.extra)


def test_repeated_parts_do_not_mislead() -> None:
    base = ["w", "layer.w", "layer.layer.w"]
    assert match_names(base, base, ()).prefix == Prefix()


def test_a_head_of_the_base_stays_out_of_the_match() -> None:
    match = match_names([*BASE, "head.w"], BASE, ("head.*",))
    assert not match.missing and "head.w" not in match.pairs


def test_nothing_in_common() -> None:
    match = match_names(BASE, ["x", "y"], ())
    assert match.missing == tuple(BASE) and match.extra == ("x", "y") and not match.pairs


def test_nearest_names_are_searched_once_per_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of twenty thousand experts renamed is one search among a few patterns, not ten thousand among all names."""
    searched: list[int] = []

    def counted(word: str, pool: list[str], **options: Any) -> list[str]:
        searched.append(len(pool))
        return difflib.get_close_matches(word, pool, **options)

    monkeypatch.setattr(matching, "get_close_matches", counted)
    base = [f"model.layers.{i // 64}.experts.{i % 64}.{part}.weight" for i in range(10_000) for part in ("up", "down")]
    nearest = Nearest()
    for place in range(0, 20_000, 2):
        assert nearest.hint(base[place].replace("up", "upp"), base) == f" (nearest: {base[place]!r})"
    assert searched == [2]
    others = ["y" * (place % 40) + "z" * (place // 40) for place in range(1500)]
    odd = [nearest.hint("x" * length, others) for length in range(1, 40)]
    assert set(odd) == {""} and len(searched) <= 7 and max(searched) <= 300


def test_modules_end_at_the_dots_of_a_name() -> None:
    name = "encoder.layer.0.weight"
    assert [name[:end] for end in module_ends(name)] == ["encoder", "encoder.layer", "encoder.layer.0"]
    assert module_ends("weight") == []


NAMES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), unique=True, max_size=8)


@given(base=NAMES, own=NAMES, heads=st.lists(st.sampled_from(["a*", "b.c", "*"]), max_size=2))
def test_every_name_is_in_one_place(base: list[str], own: list[str], heads: list[str]) -> None:
    match = match_names(base, own, heads)
    assert sorted([*match.pairs.values(), *match.heads, *match.extra]) == sorted(own)
    assert set(match.pairs) | set(match.missing) <= set(base)
    prefix = match.prefix
    assert not (prefix.model and prefix.base)
    assert all(
        name in (own_name, prefix.base + own_name.removeprefix(prefix.model)) for name, own_name in match.pairs.items()
    )
