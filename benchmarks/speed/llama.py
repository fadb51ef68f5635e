"""Ours and mergekit on a 0.5B Llama in bfloat16, a base and three fine-tunes: ``python -m benchmarks.speed.llama``.

``python -m benchmarks.speed.environments mergekit`` makes mergekit's environment first. A command is run three times
(once with ``--repeats 1``), or once where that takes longer than a quarter of a minute. Ours comes as it is, which
gives it a worker for each core, and with one worker. The table of ratios in ``docs/coming-from-mergekit.md`` is
written too.
"""

from __future__ import annotations

import filecmp
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from benchmarks.pages.mergekit_speed import write_speed
from benchmarks.speed import llama_models
from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import ROOT, Case, merge_command, relative, remove, run_once, say
from benchmarks.speed.settings import Settings, goal
from benchmarks.speed.sizes import LLAMA_HALF_B

TITLE = "A 0.5B Llama in bfloat16: ours and mergekit"
PAGE = ROOT / "docs" / "coming-from-mergekit.md"
FILE = "model.safetensors"
TASKS = LLAMA_HALF_B.tasks
RUNS, LONG = 3, 15.0
"""Runs of a command, and the seconds of the first above which it is the only one."""


@dataclass(frozen=True)
class Row:
    """One method in both tools, and by how much ours has to be faster."""

    method: str
    theirs: str
    times: float = 2.0
    parameters: dict[str, Any] = field(default_factory=dict)
    """mergekit's parameters of the whole recipe."""
    own: dict[str, Any] = field(default_factory=dict)
    """mergekit's parameters of each model."""
    with_base: bool = True
    random: bool = False

    @property
    def tasks(self) -> int:
        return 2 if self.method == "slerp" else TASKS


ROWS = (
    Row("average", "linear", 3.5, {"normalize": True}, {"weight": 1.0}, with_base=False),
    Row("slerp", "slerp", parameters={"t": 0.5}),
    Row("ties", "ties", 10.0, {"normalize": True}, {"weight": 1.0, "density": 0.2}),
    Row("dare_ties", "dare_ties", parameters={"normalize": True}, own={"weight": 1.0, "density": 0.1}, random=True),
    Row("model_stock", "model_stock"),
    Row("sce", "sce"),
    Row("karcher", "karcher", with_base=False),
    Row("breadcrumbs", "breadcrumbs", own={"weight": 1.0, "density": 0.1, "gamma": 0.01}),
)


def run(settings: Settings) -> dict[str, Any]:
    """Measure every method in both tools, in turn."""
    work = ROOT / "benchmarks" / "scratch" / "llama"  # the same models for a quick look: 4 GB
    mergekit = MERGEKIT.versions()
    places = llama_models.write(work, LLAMA_HALF_B, TASKS)
    rows, agreement, goals = [], [], []
    for row in ROWS[:1] if settings.quick else ROWS:
        cases = [_ours(row, places, work, None), _ours(row, places, work, 1), _mergekit(row, places, work)]
        _read(places)
        for number in range(min(RUNS, settings.repeats)):
            for case in cases:
                if number and case.runs[0]["wall_s"] > LONG:
                    continue
                os.sync()
                case.runs.append(run_once(case, work))
                say(f"  {case.name}: {case.runs[-1]['wall_s']:.2f} s, {case.runs[-1]['peak_bytes'] / 1e9:.2f} GB")
        ours, alone, other = (case.output for case in cases if case.output is not None)
        if not filecmp.cmp(ours / FILE, alone / FILE, shallow=False):
            raise AssertionError(f"{row.method}: one worker wrote other bytes than as many as the command chose")
        agreement.append({"what": f"{row.method}: ours and mergekit's", **apart(places[0], ours, other, row)})
        chosen, single, theirs = (case.row() for case in cases)
        rows += [chosen, single, theirs]
        for name, figures in ((row.method, chosen), (f"{row.method}, one worker", single)):
            for words, key, limit in (("seconds", "wall_s", row.times), ("peak memory", "peak_bytes", 2.0)):
                figure = theirs[key] / figures[key]
                goals.append(goal(f"{name}: mergekit's {words} over ours", figure, limit, at_least=True))
        for output in (ours, alone, other):
            remove(output)
    if not settings.quick:
        write_speed(PAGE, goals)
    return {"rows": rows, "agreement": agreement, "goals": goals, "peer_versions": {"mergekit": mergekit}}


def apart(base: Path, ours: Path, theirs: Path, row: Row) -> dict[str, Any]:
    """How far the two merged updates are apart, tensor by tensor; where entries are random, their sizes."""
    errors = []
    with opened(base) as weights, opened(ours) as first, opened(theirs) as second:
        for name in weights.keys():  # noqa: SIM118  (no mapping)
            under = weights.get_tensor(name).float()
            one, other = (model.get_tensor(name).float().sub_(under) for model in (first, second))
            size = _norm(other)
            if row.random:
                errors.append(abs(_norm(one) / size - 1) if size else 0.0)
            else:
                errors.append(_norm(one.sub_(other)) / size if size else 0.0)
    errors.sort()
    return {"tensors": len(errors), "median": errors[len(errors) // 2], "worst": errors[-1]}


def opened(folder: Path) -> Any:
    return safe_open(folder / FILE, framework="pt")


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _ours(row: Row, places: list[Path], work: Path, workers: int | None) -> Case:
    output = work / f"out-mergeometry-{workers or 'default'}"
    words = merge_command(places[0], places[1 : row.tasks + 1], row.method, output, workers=workers)
    name = f"{row.method}, mergeometry" + (f", {workers} worker" if workers else "")
    return Case(name, words, output, sums_processes=workers != 1)


def _mergekit(row: Row, places: list[Path], work: Path) -> Case:
    output, recipe = work / "out-mergekit", work / f"mergekit-{row.method}.json"
    base, *tuned = (relative(place) for place in places)
    tuned = tuned[: row.tasks]
    models = [{"model": place, **({"parameters": row.own} if row.own else {})} for place in tuned]
    content = {"merge_method": row.theirs, "dtype": "bfloat16", "models": models, "parameters": row.parameters}
    if row.method == "slerp":
        content["base_model"] = tuned[0]  # one of the two that it interpolates between
    elif row.with_base:
        content["base_model"] = base
    recipe.write_text(json.dumps(content, indent=1))  # JSON is YAML
    # The models have no tokenizer; mergekit would create one and write it.
    words = [str(MERGEKIT.program("mergekit-yaml")), "--no-copy-tokenizer", relative(recipe), relative(output)]
    return Case(f"{row.method}, mergekit", words, output)


def _read(places: list[Path]) -> None:
    """Read every input once, so that both tools find the system's cache in one state."""
    for place in places:
        with (place / FILE).open("rb", buffering=0) as file:
            while file.read(2**24):
                pass


if __name__ == "__main__":
    from benchmarks.speed.__main__ import main

    main(["llama", *sys.argv[1:]])
