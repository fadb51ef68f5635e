"""What weight decay and rounding leave of a word table's still rows, and what telling them apart is worth.

``python -m benchmarks.studies.weight_decay`` writes two tables of docs/own-blocks.md. It needs full fine-tunes:
``mergeometry suite train --full`` and ``mergeometry suite train --full --habit weight-decay trec``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

import mergeometry as mg
from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.linalg.shrinkage import RowMovements, Shrinkage
from mergeometry.methods.rows import Rows
from mergeometry.plan import make_plan
from mergeometry.recipe import load_recipe
from mergeometry_suite.backbone import backbone
from mergeometry_suite.comparison import write_suite
from mergeometry_suite.full import MODEL, load_full_expert
from mergeometry_suite.habits import find_habit, load_habit_expert
from mergeometry_suite.schedule import warm_cosine
from mergeometry_suite.tasks import SUITES

COMMAND = "python -m benchmarks.studies.weight_decay"
RESULT, PAGE = ROOT / "benchmarks" / "results" / "weight_decay.json", ROOT / "docs" / "own-blocks.md"
WORK = ROOT / "benchmarks" / "scratch" / "weight_decay" / "merges"
TASK, HABIT, SUITE = "trec", "weight-decay", "text-8"
TABLE = "embeddings.word_embeddings.weight"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MERGES: Mapping[str, dict[str, Any]] = {
    "own_blocks": {"method": "own_blocks"},
    "dc_merge rows": {"method": "dc_merge", "other": "rows"},
}

Weights = Mapping[str, Tensor]


def look_at_table(base: Float[Tensor, "rows n"], table: Float[Tensor, "rows n"]) -> tuple[RowMovements, Shrinkage]:
    """How the rows moved, and what is common to those that were not trained."""
    movements = RowMovements(len(base))
    movements.add(base, table - base)
    return movements, movements.shrinkage()


def measure_rows(base: Weights, trained: Mapping[str, Weights]) -> Iterator[dict[str, Any]]:
    """What is found in the table of one fine-tune, trained without and with weight decay, in every dtype."""
    for how, weights in trained.items():
        for name, dtype in DTYPES.items():
            table = weights[TABLE].to(dtype).float()
            movements, found = look_at_table(base[TABLE], table)
            yield {
                "trained": how, "saved": name, "rows": len(table), "factor": found.factor,
                "differ": float((table != base[TABLE]).any(dim=1).float().mean()),
                "moved": float(movements.moved(found).float().mean()),
            }  # fmt: skip


def measure_distances(base: Weights, plain: Weights, decayed: Weights) -> dict[str, float]:
    """How many times the typical still row's distance from the common shrinkage the others are away."""
    under, table = base[TABLE].double(), decayed[TABLE].double()
    still = (plain[TABLE] == base[TABLE]).all(dim=1)
    factor = look_at_table(base[TABLE], decayed[TABLE])[1].factor
    distance = (table - (1 - factor) * under).norm(dim=1) / under.norm(dim=1)
    times = distance / distance[still].median()
    return {
        "still_most": float(times[still].max()),
        "trained_least": float(times[~still].min()),
        "trained_median": float(times[~still].median()),
    }


def measure_matrices(base: Weights, plain: Weights, decayed: Weights) -> dict[str, float]:
    """How far matrices lie along the base with decay and without, and how much of their update that is."""
    more, alone, shares = [], [], []
    for name, weight in base.items():
        if weight.ndim == 2 and ".layer." in name:
            along = [_along(weight, own[name]) for own in (plain, decayed)]
            more.append(along[0] - along[1])
            alone.append(abs(along[0]))
            update = (decayed[name] - weight).double().norm()
            shares.append(float((more[-1] * weight.double().norm() / update) ** 2))
    return {
        "more_least": min(more), "more_most": max(more), "alone_most": max(alone), "share_least": min(shares),
        "share_most": max(shares),
    }  # fmt: skip


def _along(base: Tensor, weight: Tensor) -> float:
    return float(((weight - base).double() * base.double()).sum() / base.double().square().sum())


def decayed_afterwards(base: Weights, tuned: Weights, record: Mapping[str, Any], decay: float) -> dict[str, Tensor]:
    """The weights as AdamW's decay would have left them, its steps being as long as their rates."""
    regime, total = record["regime"], record["epochs"][-1]["steps"]
    kept = next(epoch["steps"] for epoch in record["epochs"] if epoch["number"] == record["kept_epoch"])
    rates = [regime["learning_rate"] * warm_cosine(step, total, regime["warmup"]) for step in range(kept)]
    left, of_update = 1.0, 0.0
    for rate in reversed(rates):
        of_update += left * rate
        left *= 1 - rate * decay
    of_update /= math.fsum(rates)
    return {
        name: (left * base[name].double() + of_update * (weight.double() - base[name].double())).to(weight.dtype)
        if weight.is_floating_point() else weight
        for name, weight in tuned.items()
    }  # fmt: skip


def measure_worth(base: Weights) -> dict[str, Any]:
    """Mean accuracies on all test texts of merges of decayed experts, with rows told apart and without."""
    shutil.rmtree(WORK, ignore_errors=True)
    suite = write_suite(SUITE, WORK / "suite", full=True)
    tasks, recipe = load_tasks(suite / "tasks.yaml"), json.loads((suite / "recipe.yaml").read_text("utf-8"))
    experts = {task: load_full_expert(task) for task in SUITES[SUITE]}
    for model in recipe["models"]:
        own, folder = experts[model["name"]], WORK / model["name"]
        shutil.copytree(own.folder, folder)
        tuned = load_file(own.folder / MODEL)
        save_file(decayed_afterwards(base, tuned, own.provenance, _decay()), folder / MODEL, metadata={"format": "pt"})
        model["path"] = str(folder)
    ends = [fmean(own.provenance["accuracy"][end]["test"] for own in experts.values()) for end in ("base", "expert")]
    rows = {}
    for name, keys in MERGES.items():
        told, whole = WORK / "told-apart", WORK / "all-moved"
        mg.merge({**recipe, **keys}, told, workers=1, overwrite=True)
        _with_all_rows_moved({**recipe, **keys}, base, told, whole)
        rows[name] = {
            how: {"mean": fmean(evaluate(folder, tasks).tasks.values()), "table": _length(base, folder)}
            for how, folder in (("all_moved", whole), ("told_apart", told))
        }
        say(f"{name}: {rows[name]}")
    shutil.rmtree(WORK)
    return {"base": ends[0], "experts": ends[1], "rows": rows}


def _decay() -> float:
    return find_habit(HABIT).regime.weight_decay


def _with_all_rows_moved(recipe: Mapping[str, Any], base: Weights, merged: Path, output: Path) -> None:
    """The same merge, but for tables: every row that differs counts as moved, as if it had been trained."""
    plan = make_plan(load_recipe(recipe))
    tables = [task.base.name for task in plan.tasks if task.kind != "matrix"]
    models = [load_file(Path(model["path"]) / MODEL) for model in recipe["models"]]
    weights, method = load_file(merged / MODEL), Rows()
    for name in tables:
        if base[name].ndim == 2 and base[name].is_floating_point():
            deltas = [model[name] - base[name] for model in models]
            weights[name] = base[name] + method.merge(deltas, [1.0] * len(deltas))
    shutil.copytree(merged, output, dirs_exist_ok=True)
    save_file(weights, output / MODEL, metadata={"format": "pt"})


def _length(base: Weights, folder: Path) -> float:
    return float((load_file(folder / MODEL)[TABLE] - base[TABLE]).double().norm())


def measure() -> dict[str, Any]:
    """Everything that the page shows."""
    found = circumstances()
    base = load_file(backbone() / MODEL)
    own = load_full_expert(TASK)
    plain, decayed = load_file(own.folder / MODEL), load_file(load_habit_expert(TASK, HABIT).folder / MODEL)
    after = decayed_afterwards(base, plain, own.provenance, _decay())
    real = (decayed[TABLE] - base[TABLE]).double()
    return {
        **found, "task": TASK, "decay": _decay(),
        "rows": list(measure_rows(base, {"no weight decay": plain, f"weight decay {_decay():g}": decayed})),
        "distances": measure_distances(base, plain, decayed), "matrices": measure_matrices(base, plain, decayed),
        "afterwards": float(((after[TABLE] - base[TABLE]).double() - real).norm() / real.norm()),
        "worth": measure_worth(base),
    }  # fmt: skip


def rows_table(found: Mapping[str, Any]) -> str:
    """What was found in one table, and how clearly."""
    lines = [
        "| trained with | saved in | rows that differ | `c` | rows that moved |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        factor = f"{row['factor']:.1e}" if row["factor"] else "0"
        lines.append(
            f"| {row['trained']} | {row['saved']} | {100 * row['differ']:.1f} % | {factor} | "
            f"{100 * row['moved']:.1f} % |"
        )
    far, matrices = found["distances"], found["matrices"]
    return "\n".join(lines) + (
        f"\n\nIn 32 bits rows that only decayed are at most {far['still_most']:.1f} times the typical one's distance "
        f"away, the nearest row that a text trained {far['trained_least']:.0f} times, and the typical one "
        f"{far['trained_median']:,.0f} times. Matrices of the same two fine-tunes: with decay each lies "
        f"{matrices['more_least']:.1e} to {matrices['more_most']:.1e} further along `-W_0`, which is "
        f"{100 * matrices['share_least']:.3f} to {100 * matrices['share_most']:.3f} % of the squared length of its "
        f"task vector; training alone moves a matrix up to {matrices['alone_most']:.1e} along its base.\n"
    )


def worth_table(found: Mapping[str, Any]) -> str:
    """What merges keep of decayed experts, with rows told apart and without."""
    worth = found["worth"]
    gain = worth["experts"] - worth["base"]
    lines = ["| merge | rows | length of the table's change | mean accuracy, % | gain kept, % |",
             "| --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    words = {"all_moved": "every row counts as moved", "told_apart": "told apart"}
    for name, own in worth["rows"].items():
        for how, text in words.items():
            mean = own[how]["mean"]
            lines.append(
                f"| `{name}` | {text} | {own[how]['table']:.1f} | {100 * mean:.1f} | "
                f"{100 * (mean - worth['base']) / gain:.0f} |"
            )
    return "\n".join(lines) + (
        f"\n\nAt scale 1, on all 500 test texts of each of the eight text tasks. Experts before the decay "
        f"{100 * worth['experts']:.1f} %, base {100 * worth['base']:.1f} %; {found['date']}, {found['commit']}. "
        f"Of `{found['task']}`, trained both ways, the table's change then differs from the real one by "
        f"{100 * found['afterwards']:.0f} % of its length.\n"
    )


def on_page(page: str, found: Mapping[str, Any]) -> str:
    """The page with its two tables."""
    for name, written in (("decayed rows", rows_table(found)), ("decayed merges", worth_table(found))):
        page = between(page, name, written, COMMAND)
    return page


def main() -> None:
    """Measure, keep the result and write it into the page."""
    found = measure()
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
