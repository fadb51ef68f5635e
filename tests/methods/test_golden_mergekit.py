"""What mergekit 0.1.5 made of two small models, against what we make of them.

`python -m benchmarks.studies.golden_mergekit` writes the files. Random methods are there at density 1, where nothing is
drawn; below it they agree in distribution only, with `rescale: l1` (docs/methods.md).
"""

from __future__ import annotations

from functools import cache

import pytest

import mergeometry as mg
from benchmarks.studies import golden_mergekit
from benchmarks.studies.golden_mergekit import ARCHITECTURES, CASES, Case

TOLERANCE = 1e-5
APART = {
    "slerp, near": "mergekit takes the straight line where a cosine exceeds 0.9995; we the arc, down to angles of 1e-6",
    "model_stock, opposed": "a negative mean cosine counts as 0 here, as the ratio of the paper lies between 0 and 1; "
    "mergekit goes past the base",
}
"""Cases in which the definitions differ, and why."""

stored = cache(golden_mergekit.read)


def furthest(case: Case, architecture: str) -> float:
    models, outputs = stored(architecture)
    tuned = [models[name] for name in case.models]
    merged = mg.merge_state_dicts(models["base"], tuned, case.method, weights=case.weights)
    assert merged.keys() == outputs[case.name].keys()
    return max(float((merged[name] - tensor).abs().max()) for name, tensor in outputs[case.name].items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_merges_are_mergekits(case: Case, architecture: str) -> None:
    error = furthest(case, architecture)
    if case.name in APART:
        assert error > TOLERANCE, f"they agree, but the table says: {APART[case.name]}"
    else:
        assert error <= TOLERANCE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_case_copies_an_input(architecture: str) -> None:
    models, outputs = stored(architecture)
    assert set(outputs) == {case.name for case in CASES}
    for name, output in outputs.items():
        for label, model in models.items():
            apart = max(float((output[key] - tensor).abs().max()) for key, tensor in model.items())
            assert apart > 1e-3, f"{name} is {label}"


def test_the_files_stay_small() -> None:
    files = list(golden_mergekit.FOLDER.iterdir())
    assert len(files) == len(ARCHITECTURES) and sum(file.stat().st_size for file in files) < 400_000
