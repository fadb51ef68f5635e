"""Which configurations lead to code outside the library."""

from __future__ import annotations

from typing import Any

import pytest

from mergeometry.conventions.foreign_code import BUILT_IN_ATTENTION, foreign_code


@pytest.mark.parametrize(
    ("configuration", "keys"),
    [
        ({}, []),
        ({"auto_map": None, "custom_pipelines": {}}, []),
        ({"auto_map": {"AutoModel": "m.Model"}}, ["auto_map"]),
        ({"custom_pipelines": {"x": {"impl": "p.Pipeline"}}, "auto_map": "m.M"}, ["auto_map", "custom_pipelines"]),
        ({"text_config": {"auto_map": {"AutoConfig": "c.C"}}, "list": [{"auto_map": "x"}]}, ["auto_map"]),
        ({"_attn_implementation": "sdpa", "attn_implementation": {"text": "eager", "vision": None}}, []),
        ({"attn_implementation": {"text": "eager", "vision": "someone/kernel"}}, ["attn_implementation"]),
        ({"_attn_implementation_internal": ["sdpa"]}, ["_attn_implementation_internal"]),
        ({"_attn_implementation": 3}, ["_attn_implementation"]),
        (["a", 1, None], []),
    ],
)  # fmt: skip
def test_keys_that_lead_to_code(configuration: Any, keys: list[str]) -> None:
    assert list(foreign_code(configuration)) == keys


@pytest.mark.parametrize("name", sorted(BUILT_IN_ATTENTION))
def test_attentions_of_the_library_are_its_own(name: str) -> None:
    assert not list(foreign_code({"_attn_implementation": name}))
