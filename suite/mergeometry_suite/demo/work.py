"""The demo's jobs, each for a worker process: one row of the leaderboard, or its two ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mergeometry.comparison.gain import Correct
from mergeometry.errors import ExecutionError
from mergeometry.execution.threads import ENVIRONMENT
from mergeometry.sources import open_checkpoint
from mergeometry_suite.command import load_expert
from mergeometry_suite.demo.entries import SCALES, Entry
from mergeometry_suite.demo.scorer import Scorer, read_weights


@dataclass(frozen=True, slots=True)
class Settings:
    """What every job of one run shares."""

    output: Path
    backbone: Path
    tasks: tuple[str, ...]
    validation_texts: int
    test_texts: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the leaderboard, or its two ends where there is no entry."""

    settings: Settings
    entry: Entry | None


def carry_out(job: Job) -> dict[str, Any]:
    """Do one job.

    Raises:
        ExecutionError: the command line could not merge.
    """
    return ends(job.settings) if job.entry is None else row(job.settings, job.entry)


@cache
def judge_of(settings: Settings) -> Scorer:
    """An encoder with the texts to score, built once in each worker."""
    return Scorer(settings.backbone, settings.tasks, settings.validation_texts, settings.test_texts)


def ends(settings: Settings) -> dict[str, Any]:
    """The base with fitted heads, and each expert on its own task."""
    scorer = judge_of(settings)
    return {"base": scorer.correct(scorer.base, "test"), "experts": scorer.experts()}


def row(settings: Settings, entry: Entry) -> dict[str, Any]:
    """Merge at scale 1, choose a scale on validation texts, merge at that scale, score both on test texts.

    Raises:
        ExecutionError: the command line could not merge.
    """
    scorer = judge_of(settings)
    first = merge(settings, entry, 1.0)
    merged = read_weights(open_checkpoint(_folder(settings, entry), entry.name))
    validation = {scale: _mean(scorer.correct(scorer.moved(merged, scale), "validation")) for scale in SCALES}
    # Among equals the scale nearest to 1 wins: it trusts the validation texts least.
    best = min(SCALES, key=lambda scale: (-validation[scale], abs(scale - 1.0)))
    at_one = scorer.correct(merged, "test")
    if best != 1.0:
        merge(settings, entry, best)
        merged = read_weights(open_checkpoint(_folder(settings, entry), entry.name))
    return {
        "at_one": at_one,
        "at_best": at_one if best == 1.0 else scorer.correct(merged, "test"),
        "best_scale": best,
        "validation": {str(scale): accuracy for scale, accuracy in validation.items()},
        "seconds": first["totals"]["seconds"],
        "peak_memory": first["totals"]["peak_memory"],
    }


def merge(settings: Settings, entry: Entry, scale: float) -> dict[str, Any]:
    """Merge as a user would, by the command line in a process of its own; returns the run record."""
    models = [{"path": str(load_expert(task).folder), "name": task} for task in settings.tasks]
    recipe = settings.output / "recipes" / f"{_file_name(entry)}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and has one way to write a value.
    recipe.write_text(json.dumps(entry.recipe(str(settings.backbone), models, scale), indent=2) + "\n", "utf-8")
    command = [sys.executable, "-m", "mergeometry", "merge", str(recipe), "--output", str(_folder(settings, entry))]
    done = subprocess.run(
        [*command, "--overwrite", "--workers", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    if done.returncode != 0:
        raise ExecutionError(f"{entry.name} could not be merged:\n{done.stderr.strip()}", hint=" ".join(command))
    return json.loads(done.stdout)


def _folder(settings: Settings, entry: Entry) -> Path:
    return settings.output / "merged" / _file_name(entry)


def _file_name(entry: Entry) -> str:
    return entry.name.replace(" ", "-")


def _mean(correct: Correct) -> float:
    return float(np.mean([np.mean(task) for task in correct.values()]))
