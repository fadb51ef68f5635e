"""Peak memory against the estimate, for merges by every route: ``python -m benchmarks.studies.memory_estimates``.

Each merge runs in a process of its own, under a limit of its addresses (RLIMIT_AS) that the estimate, a tenth more and
what a process maps without using leave. The peak is the kernel's own figure of each process (VmHWM), added up. Merges
are of synthetic models whose matrices have ``--side`` rows and columns; ``--only NAME`` runs one of them, and
``--json FILE`` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import OFFLINE, ONE_THREAD, ROOT, say
from benchmarks.studies.small_models import drawn, drawn_factors, fine_tuned, write_adapter, write_model

RESULTS = ROOT / "benchmarks" / "results" / "memory_estimates.json"
TOLERANCE = 1.1
"""How far above the estimate a peak may be."""

_CHILD = """
import json, resource, sys
import mergeometry as mg
from mergeometry.plan import machine
recipe, output, workers, tolerance = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
plan = mg.make_plan(recipe)
expected = plan.peak_memory(workers)
if plan.recipe.data is not None:
    from mergeometry.activations.estimate import estimate
    from mergeometry.activations.run import read_data
    expected = max(expected, estimate(plan, plan.recipe.data, read_data(plan, plan.recipe.data)).memory)
if workers == 1:
    bound = int(tolerance * expected) + machine.ADDRESS_BYTES + machine.THREAD_ADDRESS_BYTES * machine.cores()
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
record = mg.merge(recipe, output, workers=workers)
routes = sorted({task.route for task in plan.tasks})
print(json.dumps([expected, record.totals.peak_memory, routes]))
"""


@dataclass(frozen=True)
class Case:
    """One merge: a name, how its inputs are written and its recipe made, and the number of processes."""

    name: str
    recipe: Callable[[Path, int], dict[str, Any]]
    workers: int = 1


def full(method: Any, count: int = 4, *, code: torch.dtype = torch.float32, **keys: Any) -> Callable[..., Any]:
    """Full fine-tunes with a few matrices."""

    def recipe(folder: Path, side: int) -> dict[str, Any]:
        shapes = {f"layer.{layer}.dense.weight": (side, side) for layer in range(2)}
        return {**family(folder, shapes, count, code), "method": method, **keys}

    return recipe


def adapters(method: Any, **keys: Any) -> Callable[..., Any]:
    """Adapters of rank 16 of a base with a few matrices."""

    def recipe(folder: Path, side: int) -> dict[str, Any]:
        shapes = {f"layer.{layer}.dense.weight": (side, side) for layer in range(2)}
        base = family(folder, shapes, 0)
        modules = [name.removesuffix(".weight") for name in shapes]
        for number in range(4):
            factors = drawn_factors(modules, shapes, dict.fromkeys(modules, 16), seed=200 + number)
            write_adapter(folder / f"adapter{number}", factors, r=16, lora_alpha=16)
        return {**base, "models": [str(folder / f"adapter{number}") for number in range(4)], "method": method, **keys}

    return recipe


def one_adapter_of_a_large_base(folder: Path, side: int) -> dict[str, Any]:
    """A table that no model changes, and which is therefore copied, beside one small matrix."""
    shapes = {"embeddings.weight": (16 * side, side), "layer.0.dense.weight": (64, 64)}
    base = family(folder, shapes, 0)
    modules = ["layer.0.dense"]
    write_adapter(folder / "adapter", drawn_factors(modules, shapes, {modules[0]: 4}, seed=200), r=4, lora_alpha=4)
    return {**base, "models": [str(folder / "adapter")], "method": "average"}


def table(method: Any) -> Callable[..., Any]:
    """A table of many rows in bfloat16, as of a language model's vocabulary."""

    def recipe(folder: Path, side: int) -> dict[str, Any]:
        shapes = {"model.embed_tokens.weight": (16 * side, side), "layer.0.dense.weight": (64, 64)}
        return {**family(folder, shapes, 3, torch.bfloat16), "method": method}

    return recipe


def experts(folder: Path, side: int) -> dict[str, Any]:
    """Experts stacked in one tensor, each merged as a matrix of its own."""
    half = side // 2
    shapes = {
        "model.layers.0.mlp.experts.gate_up_proj": (8, 2 * half, half),
        "model.layers.0.mlp.experts.down_proj": (8, half, half),
    }
    config = {"model_type": "mixtral", "num_local_experts": 8, "hidden_size": half, "intermediate_size": half}
    return {**family(folder, shapes, 3, config=config), "method": "tsv_m"}


def heads(folder: Path, side: int) -> dict[str, Any]:
    """A large head of each model, kept next to the weights."""
    return {
        **family(folder, {"layer.0.dense.weight": (64, 64)}, 3, own={"classifier.weight": (16 * side, side)}),
        "method": "average",
        "heads": ["classifier.*"],
    }


def activations(folder: Path, side: int) -> dict[str, Any]:
    """Encoders that are run on texts of their own, and merged by their layers' inputs."""
    from benchmarks.studies.small_encoders import TASKS, write_bert  # noqa: PLC0415  (needs transformers)

    write_bert(folder, width=side // 2)
    return {
        "base": str(folder / "bert"),
        "models": [str(folder / task) for task in TASKS],
        "method": "regmean",
        "data": {"tasks": {task: str(folder / f"{task}.jsonl") for task in TASKS}, "limit": 12},
    }


CASES = (
    Case("sums: average of four", full("average")),
    Case("in passes: ties of four", full("ties")),
    Case("in passes: a table in bfloat16", table("ties")),
    Case("in passes, row by row: della of four", full("della")),
    Case("whole, entry by entry: pcb of four", full("pcb")),
    Case("directions: tsv_m of four", full("tsv_m")),
    Case("a spectrum: iso_c of four", full("iso_c")),
    Case("refined: tsv_m and svc of four", full("tsv_m", refine=["svc"])),
    Case("adapters onto a base: tsv_m of four", adapters("tsv_m")),
    Case("adapters to an adapter: dc_merge of four", adapters("dc_merge", output={"adapter": True})),
    Case("experts stacked: tsv_m of three", experts),
    Case("activations: regmean of three", activations),
    Case("heads kept: average of three", heads),
    Case("copied: a base with one adapter", one_adapter_of_a_large_base),
    Case("two workers: tsv_m of four", full("tsv_m"), workers=2),
    Case("two workers: ties of four, bfloat16", full("ties", code=torch.bfloat16), workers=2),
)


def family(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
    code: torch.dtype = torch.float32,
    config: Mapping[str, Any] | None = None,
    own: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Any]:
    """A base and fine-tunes of it, each with tensors of its ``own``; the recipe's inputs."""
    base = drawn(shapes, seed=0)
    write_model(folder / "base", {name: tensor.to(code) for name, tensor in base.items()}, config)
    for number in range(count):
        tensors = {**fine_tuned(base, number), **(drawn(own, seed=100 + number) if own else {})}
        write_model(folder / f"task{number}", {name: tensor.to(code) for name, tensor in tensors.items()}, config)
    return {"base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in range(count)]}


def measured(case: Case, side: int) -> dict[str, Any]:
    """Estimate and peak of one merge.

    Raises:
        RuntimeError: the merge fails, as it does where it needs more addresses than the limit leaves.
    """
    folder = Path(tempfile.mkdtemp(prefix="memory-"))
    try:
        recipe = case.recipe(folder, side)
        command = [sys.executable, "-c", _CHILD, json.dumps(recipe), str(folder / "out")]
        command += [str(case.workers), str(TOLERANCE)]
        environment = {**os.environ, **ONE_THREAD, **OFFLINE}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"{case.name}: {done.stderr[-2000:]}")
        estimate, peak, routes = json.loads(done.stdout)
    finally:
        shutil.rmtree(folder)
    return {
        "name": case.name, "routes": routes, "workers": case.workers, "estimate_bytes": estimate, "peak_bytes": peak
    }  # fmt: skip


def rows(cases: Sequence[Case], side: int) -> Iterator[dict[str, Any]]:
    for case in cases:
        row = measured(case, side)
        say(f"  {row['name']}: {row['peak_bytes'] / 1e6:.0f} of {row['estimate_bytes'] / 1e6:.0f} MB")
        yield row


def table_of(found: Mapping[str, Any]) -> str:
    """The figures as a table of the documentation."""
    lines = ["| merge | routes | estimate | peak | peak over estimate |", "| --- | --- | --- | --- | --- |"]
    for row in found["rows"]:
        estimate, peak = row["estimate_bytes"], row["peak_bytes"]
        lines.append(
            f"| {row['name']} | {', '.join(row['routes'])} | {estimate / 1e6:.0f} MB | {peak / 1e6:.0f} MB "
            f"| {peak / estimate:.2f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--only", default="", help="a part of the names of the merges to run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.only in case.name]
    found = {"side": options.side, **circumstances(), "rows": list(rows(cases, options.side))}
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table_of(found))
    return int(any(row["peak_bytes"] > TOLERANCE * row["estimate_bytes"] for row in found["rows"]))


if __name__ == "__main__":
    sys.exit(main())
