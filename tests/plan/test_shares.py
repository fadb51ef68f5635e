"""How much of a model the method itself merges is said in the plan, in the record and on the card."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest

from mergeometry import merge
from tests.helpers.commands import invoke
from tests.helpers.models import random_tensors, tuned, write_model


@pytest.mark.parametrize(
    ("more", "counts", "sentence"),
    [
        (
            {"method": "tsv_m"},
            {"method": 88, "other": 83, "rules": 0, "copied": 0},
            "tsv_m merges 51.5 % of the parameters, the method for other tensors (`other`) 48.5 %",
        ),
        (
            {"method": "tsv_m", "tensors": [{"match": "embed*", "method": "task_arithmetic"}]},
            {"method": 88, "other": 17, "rules": 66, "copied": 0},
            "tsv_m merges 51.5 % of the parameters, the method for other tensors (`other`) 9.9 %, the methods of "
            "`tensors:` rules 38.6 %",
        ),
        (
            {"method": "ties"},
            {"method": 171, "other": 0, "rules": 0, "copied": 0},
            "ties merges 100 % of the parameters",
        ),
    ],
)
def test_the_shares_of_parameters(more: dict[str, Any], counts: dict[str, int], sentence: str, tmp_path: Path) -> None:
    base = random_tensors(
        0, shapes={"embed.weight": (11, 6), "a.weight": (8, 6), "a.bias": (9,), "b.weight": (5, 8), "n": (8,)}
    )
    models = [str(write_model(tmp_path / f"m{seed}", tuned(base, seed))) for seed in (1, 2)]
    recipe = {"base": str(write_model(tmp_path / "base", base)), "models": models, **more}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert json.loads(invoke("plan", tmp_path / "recipe.yaml", "--json").stdout)["parameters"] == counts
    assert sentence in " ".join(invoke("plan", tmp_path / "recipe.yaml").output.split())
    record = merge(recipe, tmp_path / "out", workers=1)
    assert record.parameters == counts
    card = (tmp_path / "out" / "README.md").read_text()
    assert sentence in html.unescape(card).replace("\\", "")
