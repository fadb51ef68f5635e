"""No run takes more memory than its plan foretold, and the plan does not cry wolf."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.conformance.checks import accepts
from mergeometry.methods import registry
from tests.helpers import models

DATA_FREE = [
    name for name in registry.names() if not (registry.find(name).needs_learning or registry.find(name).merges_by)
]

MEASURE = """
import json, sys
import mergeometry as mg
recipe, output, workers = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
foretold = mg.make_plan(recipe).peak_memory(workers)
run = mg.merge(recipe, output, workers=workers)
print(json.dumps([foretold, run.totals.peak_memory]))
"""


def ratio(recipe: dict[str, Any], output: Path, workers: int) -> float:
    """Foretold bytes for each byte taken, in processes of its own."""
    command = [sys.executable, "-c", MEASURE, json.dumps(recipe), str(output), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    foretold, taken = json.loads(done.stdout)
    return foretold / taken


def family(folder: Path, size: int, count: int, kind: str, tasks: int = 4) -> dict[str, Any]:
    shapes = {f"layer.{number}.dense.weight": (size, size) for number in range(count)}
    found = models.write_family(folder, count=tasks, shapes=shapes)
    if kind == "models":
        return found
    modules = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    for number in range(tasks if kind == "adapters" else tasks // 2):
        place = folder / f"adapter{number}"
        models.write_adapter(place, models.random_factors(number, modules, rank=16))
        found["models"][number] = str(place)
    return found


@pytest.mark.parametrize(
    "method", ["tsv_m", *(pytest.param(name, marks=pytest.mark.slow) for name in ("average", "ties"))]
)
def test_one_process_stays_below_the_plan(tmp_path: Path, method: str) -> None:
    recipe = {**family(tmp_path, 768, 3, "models"), "method": method}
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", 1) <= 1.6


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["models", "adapters", "mixed"])
@pytest.mark.parametrize("method", DATA_FREE)
def test_large_matrices_stay_below_the_plan(tmp_path: Path, method: str, kind: str, workers: int) -> None:
    tasks = next(count for count in (4, 2, 1) if accepts(registry.build(method, {}), count, torch.zeros(2, 2)))
    recipe = {**family(tmp_path, 2048, 2 * workers, kind, tasks), "method": method}
    # The plan rounds up what each process takes before it does any work, and there are three of them.
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", workers) <= (1.7 if workers == 1 else 1.8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "adapters", "mixed"])
@pytest.mark.parametrize("method", ["average", "tsv_m"])
@pytest.mark.parametrize(
    "steps",
    [{"scale": {"rule": "larv"}}, {"refine": ["pico"]}, {"refine": ["pico", "svc"], "scale": {"rule": "larv"}}],
    ids=["larv", "pico", "all"],
)
def test_steps_around_a_merge_stay_below_the_plan(
    tmp_path: Path, method: str, kind: str, steps: dict[str, Any]
) -> None:
    recipe = {**family(tmp_path, 1536, 2, kind), "method": method, **steps}
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", 1) <= 1.7


def test_a_table_of_words_takes_a_few_rows_of_memory(tmp_path: Path) -> None:
    recipe = models.write_family(tmp_path, count=8, shapes={"embeddings.word_embeddings.weight": (20_000, 256)})
    own = mg.make_plan({**recipe, "method": "rows"})
    table = 4 * 20_000 * 256
    assert (
        own.peak_memory(1)
        < mg.make_plan({**recipe, "method": {"name": "ties", "rescale": True}}).peak_memory(1) - 8 * table
    )
    assert 1 / 1.1 <= ratio({**recipe, "method": "rows"}, tmp_path / "out", 1) <= 1.6


def test_a_large_head_is_written_piece_by_piece(tmp_path: Path) -> None:
    recipe = models.write_family(tmp_path, count=2)
    for place in recipe["models"]:
        head = {"head.0.weight": torch.ones(30_000, 1000), "head.1.weight": torch.ones(1000)}
        models.write_model(Path(place), {**models.loaded(Path(place)), **head})
    assert 1 / 1.1 <= ratio({**recipe, "method": "average", "heads": ["head.*"]}, tmp_path / "out", 1) <= 1.6


@pytest.mark.slow
@pytest.mark.parametrize("refine", ["svc", "norm"])
@pytest.mark.parametrize("kind", ["models", "adapters", "mixed"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "iso_c", "tsv_m"])
def test_refined_matrices_stay_below_the_plan(tmp_path: Path, method: str, kind: str, refine: str) -> None:
    recipe = {**family(tmp_path, 2048, 2, kind), "method": method, "refine": [refine]}
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", 1) <= 1.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "scale"),
    [
        ("task_arithmetic", "auto"),
        ("ties", "auto"),
        ("tsv_m", {"rule": "gram_retention"}),
        ("average", {"rule": "svc_gamma"}),
    ],
)
def test_scales_without_labels_stay_below_the_plan(tmp_path: Path, method: str, scale: Any) -> None:
    recipe = {**family(tmp_path, 1024, 2, "models"), "method": method, "scale": scale}
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", 1) <= 1.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ({"embeddings.word_embeddings.weight": (100_000, 768)}, {"size": "20%"}),
        ({"layer.12.dense.weight": (8192, 512)}, {"keep": 0.9}),
        ({"convolution.weight": (1024, 1024, 3, 3)}, {"rank": 8}),
        ({"layer.12.dense.weight": (2048, 2048)}, {"rank": 8}),
    ],
)
def test_residuals_stay_below_the_plan(tmp_path: Path, shapes: dict[str, Any], wanted: dict[str, Any]) -> None:
    twelve = {f"layer.{number}.dense.weight": (768, 768) for number in range(12)}
    recipe = models.write_family(tmp_path, count=2, shapes={**shapes, **twelve})
    recipe |= {"method": "average", "output": {"residuals": wanted}}
    assert 1 / 1.1 <= ratio(recipe, tmp_path / "out", 1) <= 1.6


def test_a_table_takes_no_more_memory_for_its_residuals(tmp_path: Path) -> None:
    shapes = {"embeddings.word_embeddings.weight": (20_000, 256), "layer.0.dense.weight": (8, 8)}
    recipe = {**models.write_family(tmp_path, count=2, shapes=shapes), "method": "average"}
    small = mg.make_plan({**recipe, "output": {"residuals": {"size": "20%"}}}).peak_memory(1)
    shapes["embeddings.word_embeddings.weight"] = (40_000, 256)
    recipe = {**models.write_family(tmp_path / "large", count=2, shapes=shapes), "method": "average"}
    assert mg.make_plan({**recipe, "output": {"residuals": {"size": "20%"}}}).peak_memory(1) < small + 1_000_000
