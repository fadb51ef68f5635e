"""How often planning reads and parses what the inputs hold: once each, and equal files once for all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mergeometry.plan import make_plan
from mergeometry.recipe import load_recipe
from mergeometry.sources import header, tokenizer
from tests.helpers.models import random_tensors, tuned, write_shards

SHAPES = {"model.embed_tokens.weight": (6, 4), "model.layers.0.mlp.up_proj.weight": (8, 4), "model.norm.weight": (4,)}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    base = random_tensors(0, shapes=SHAPES)
    vocabulary = {f"token{number}": number for number in range(6)}
    for place in range(4):
        folder = write_shards(tmp_path / f"m{place}", tuned(base, place) if place else base, 2)
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocabulary}}))
    (tmp_path / "recipe.yaml").write_text("base: m0\nmodels: [m1, m2, m3]\nmethod: average\n")
    return tmp_path / "recipe.yaml"


def test_each_header_is_read_once_and_equal_tokenizers_are_parsed_once(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, vocabularies = Counter[Path](), Counter[str]()
    opened, tokens_of = header.opened, tokenizer.tokens_of

    def opens(path: Path, *rest: Any) -> Any:
        headers[path] += 1
        return opened(path, *rest)

    def parses(name: str, content: Any) -> dict[str, int]:
        vocabularies[name] += 1
        return tokens_of(name, content)

    monkeypatch.setattr(header, "opened", opens)
    monkeypatch.setattr(tokenizer, "tokens_of", parses)
    plan = make_plan(load_recipe(recipe))
    assert len(headers) == 8
    assert set(headers.values()) == {1}
    assert vocabularies == {"tokenizer.json": 1}
    assert len(plan.tasks) == 3
