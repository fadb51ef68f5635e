"""A second recipe on models whose directions an earlier merge has kept, against the same recipe without them."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import Case, in_turn, merge_command, relative
from benchmarks.speed.settings import Settings, goal

TITLE = "A second recipe on the same full models"
METHODS = ("tsv_m", "dc_merge", "own_blocks")
FIRST = METHODS[0]
"""The method whose merge keeps the directions."""


def run(settings: Settings) -> dict[str, Any]:
    base, models, _ = settings.models()
    folder = settings.work / "known-directions"
    known = ["--directions", relative(folder)]

    def case(name: str, method: str, *options: str) -> Case:
        output = settings.work / f"out-{name.replace(' ', '-')}"
        return Case(name, [*merge_command(base, models, method, output, workers=1), *options], output)

    methods = settings.methods(*METHODS)
    plain = {method: case(f"{method} alone", method) for method in methods}
    second = {method: case(f"{method} second", method, *known) for method in methods}
    first = case(f"{FIRST} first", FIRST, *known)
    first.before = ["rm", "-rf", relative(folder)]
    average = case("average", "average")
    cases = [average, *plain.values(), first, *second.values()]
    in_turn(cases, settings.slow_repeats, settings.work)
    for method in methods:
        _refuse_different(plain[method].output, second[method].output)
    agreement = [{"what": f"{method}, second against alone, by bytes", "worst": 0.0} for method in methods]
    goals = [
        goal(f"{method} second: times less processor time", _processor(plain[method]) / _processor(second[method]), 3,
             at_least=True)
        for method in methods
    ]  # fmt: skip
    goals.append(
        goal("keeping: times the processor time", _processor(first) / _processor(plain[FIRST]), 1.1, at_least=False)
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    inputs = sum(_weights(model).stat().st_size for model in (base, *models))
    goals.append(goal("what is kept: times the bytes of all inputs", size / inputs, 1, at_least=False))
    return {"rows": [one.row() for one in cases], "agreement": agreement, "goals": goals}


def _processor(case: Case) -> float:
    row = case.row()
    return row["user_s"] + row["system_s"]


def _weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def _refuse_different(one: Path | None, other: Path | None) -> None:
    assert one is not None and other is not None
    if not filecmp.cmp(_weights(one), _weights(other), shallow=False):
        raise RuntimeError(f"{one} and {other} differ")
