"""One row with one seed in a process of its own: learn on training texts, score on test texts, print JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import torch

from mergeometry.execution.threads import one_thread
from mergeometry.execution.usage import process_usage
from mergeometry.learning.from_plan import Prepared, prepare
from mergeometry.learning.result import folded_heads
from mergeometry.learning.run import load_inputs
from mergeometry.plan import make_plan
from mergeometry.recipe import load_recipe
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks, load_expert
from mergeometry_suite.demo.scorer import Scorer
from mergeometry_suite.tasks import load

EVERYTHING = 1 << 30


def recipe(row: dict[str, Any], seed: int, texts: Path) -> dict[str, Any]:
    """The recipe of a row, as a user would write it."""
    names = [task.name for task in list_tasks()]
    tasks = []
    for name in names:
        data = {"path": str(texts / f"{name}.jsonl"), "limit": row.get("texts", EVERYTHING)}
        tasks.append({"name": name, "data": data, "head": str(load_expert(name).folder / "head.safetensors")})
    return {
        "base": str(backbone()),
        "models": [{"path": str(load_expert(name).folder), "name": name} for name in names],
        "method": row["method"],
        "scale": row["scale"],
        "seed": seed,
        "adapt": {"encoder": {"max_length": 32}, **row["adapt"], "tasks": tasks},
    }


def write_texts(folder: Path) -> None:
    """The suite's training texts, without labels, one file per task."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in list_tasks():
        lines = [json.dumps({"text": text}) for text in load(task).train.texts]
        (folder / f"{task.name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def learn(row: dict[str, Any], seed: int, texts: Path, threads: int) -> tuple[Prepared, dict[str, Any]]:
    """Learn a row; return what was learned, and what it took."""
    started = time.perf_counter()
    plan = make_plan(load_recipe(recipe(row, seed, texts)))
    section = plan.recipe.adapt
    assert section is not None
    data, encoder, heads = load_inputs(plan, section, torch.device("cpu"), _silent)
    with one_thread():
        prepared = prepare(plan, section, encoder, data, heads, workers=threads, say=_silent)
        ready_after = time.perf_counter() - started
        state = prepared.learner.learn(lambda _point: None, lambda _state: None)
    checks = [[point.step, point.held_out] for point in state.points if point.held_out is not None]
    return prepared, {
        "seconds": time.perf_counter() - started,
        "seconds_before_learning": ready_after,
        "peak_memory": process_usage()[0],
        "learned_numbers": prepared.table.count,
        "kept_step": state.best_step,
        "held_out": checks,
    }


def score(prepared: Prepared, scorer: Scorer) -> dict[str, list[int]]:
    """Whether each test text is classified correctly by the merge and the task's head, rotation folded in."""
    names = [task.name for task in list_tasks()]
    merged = prepared.scene.merged
    weights = merged.weights(prepared.table, torch.float32)
    by_disk = {site.name: weights[site.parameter] for site in merged.sites}
    for name, head in folded_heads(prepared, names).items():
        scorer.give_head(name, head["weight"], head["bias"])
    return {
        task: [int(one) for one in right] for task, right in scorer.correct({**scorer.base, **by_disk}, "test").items()
    }


def _silent(_text: str, _done: int, _total: int) -> None:
    pass


def main() -> None:
    given = json.loads(sys.stdin.read())
    scorer = None
    for job in given["jobs"]:
        prepared, took = learn(job["row"], job["seed"], Path(given["texts"]), job["threads"])
        # After the first learning run, so that its peak of memory is its own.
        scorer = scorer or Scorer(backbone(), tuple(task.name for task in list_tasks()), 1, EVERYTHING)
        print(
            json.dumps({**took, "seed": job["seed"], "threads": job["threads"], "correct": score(prepared, scorer)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
