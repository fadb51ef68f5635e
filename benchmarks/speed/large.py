"""Merges of a 1.2B Llama in bfloat16, against what the plan said: ``python -m benchmarks.speed.large``.

A base and three fine-tunes with the names and shapes of Llama-3.2-1B, in shards, and three adapters of it. Sums and
adapters merge the whole model. A directional merge takes minutes for each layer, so it merges the same model cut to
a few layers, at two depths: memory must not grow with the number of tensors. It is also stopped by Ctrl-C when half of
its tensors are done, and continued. Two workers are timed against one, here and on a Ray cluster of this machine.
Models and outputs take 17 GB in ``benchmarks/scratch/large``, which is removed afterwards; ``--keep`` leaves the models
there. On two free cores it takes about ten minutes. ``--quick`` runs all of it on toy sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import mergeometry as mg
from benchmarks.speed.llama_models import write_adapter, write_model
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import OFFLINE, ONE_THREAD, ROOT, Case, merge_command, remove, run_once, say
from benchmarks.speed.sizes import LLAMA_1B, Llama

RESULTS = ROOT / "benchmarks" / "results" / "large.json"
SHARD = 1 << 30
"""Bytes of a file of the inputs, about."""


DEEP = replace(LLAMA_1B, name="Llama-1.2B, 8 layers", layers=8, words=4096)
SHALLOW = replace(DEEP, name="Llama-1.2B, 2 layers", layers=2)
TOY = Llama("toy Llama", 4, 128, 256, tasks=3, adapter_rank=16, words=512, head=64, keys=64, tied=True)
TOYS = TOY, replace(TOY, words=64), replace(TOY, layers=2, words=64)


@dataclass(frozen=True)
class Inputs:
    """A base, its fine-tunes and its adapters."""

    base: Path
    tuned: list[Path]
    adapters: list[Path]


def write_inputs(folder: Path, size: Llama, *, adapters: bool) -> Inputs:
    tuned = [write_model(folder / f"task{task}", size, task + 1, SHARD) for task in range(size.tasks)]
    thin = [write_adapter(folder / f"adapter{task}", size, task) for task in range(size.tasks if adapters else 0)]
    return Inputs(write_model(folder / "base", size, 0, SHARD), tuned, thin)


@dataclass(frozen=True)
class Row:
    """One merge to measure."""

    name: str
    base: Path
    models: Sequence[Path]
    method: str
    layers: int
    workers: int
    extra: tuple[str, ...] = ()


def measured(row: Row, work: Path) -> dict[str, Any]:
    """Seconds and peak of one merge, and what its plan says."""
    output = work / "out"
    command = merge_command(row.base, row.models, row.method, output, workers=row.workers)
    case = Case(row.name, [*command, *row.extra], output, sums_processes=True)
    run = run_once(case, work)
    expected = estimate(row)
    remove(output)
    say(f"  {row.name}: {run['wall_s']:.1f} s, planned {expected['planned_s']:.1f} s; {run['peak_bytes'] / 1e6:.0f} MB")
    return {
        "name": row.name, "method": row.method, "layers": row.layers, "workers": row.workers, **run, **expected
    }  # fmt: skip


def estimate(row: Row) -> dict[str, Any]:
    plan = mg.make_plan(base=row.base, models=[str(model) for model in row.models], method=row.method)
    return {
        "planned_s": plan.seconds(row.workers),
        "planned_bytes": plan.peak_memory(row.workers),
        "tensors": len(plan.tasks),
        "read_bytes": plan.bytes_read,
        "written_bytes": plan.bytes_written,
    }


def resumed(row: Row, work: Path, whole_s: float) -> dict[str, Any]:
    """Stop a merge with Ctrl-C once half of its tensors are journalled, continue it, and compare with a whole run.

    Raises:
        RuntimeError: it ends before it is stopped, or what it then writes is not what an unbroken merge writes.
    """
    output = work / "out"
    remove(output)
    command = merge_command(row.base, row.models, row.method, output, workers=row.workers)
    environment = {**os.environ, **ONE_THREAD, **OFFLINE}
    tensors = estimate(row)["tensors"]
    started = time.perf_counter()
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)
    while _journalled(output) < tensors // 2:
        if process.poll() is not None:
            raise RuntimeError("the merge ended before it was stopped")
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait()
    first = time.perf_counter() - started
    kept = _journalled(output)
    started = time.perf_counter()
    subprocess.run([*command, "--resume"], check=True, cwd=ROOT, env=environment, **quiet)
    second = time.perf_counter() - started
    digest = _digest(output)
    remove(output)
    subprocess.run(command, check=True, cwd=ROOT, env=environment, **quiet)
    same = _digest(output) == digest
    remove(output)
    if not same:
        raise RuntimeError("a resumed merge wrote other bytes")
    say(f"  stopped after {first:.1f} s with {kept} of {tensors} tensors, continued in {second:.1f} s")
    return {
        "name": row.name, "tensors": tensors, "kept": kept, "until_stopped_s": first, "continued_s": second,
        "whole_s": whole_s, "same_bytes": same,
    }  # fmt: skip


def _journalled(output: Path) -> int:
    for journal in output.parent.glob(f".{output.name}.mergeometry-staging*/journal*"):
        return max(0, journal.read_bytes().count(b"\n") - 1)
    return 0


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def run(work: Path, *, quick: bool) -> dict[str, Any]:
    """Write the models, merge them in every way, and return all figures."""
    whole, deep, shallow = TOYS if quick else (LLAMA_1B, DEEP, SHALLOW)
    about = circumstances()
    say("writing models")
    full = write_inputs(work / "whole", whole, adapters=True)
    cut = write_inputs(work / "deep", deep, adapters=False)
    short = write_inputs(work / "shallow", shallow, adapters=False)
    rows = [
        Row("average", full.base, full.tuned, "average", whole.layers, 1),
        Row("average, 2 workers", full.base, full.tuned, "average", whole.layers, 2),
        Row("ties", full.base, full.tuned, "ties", whole.layers, 1),
        Row("adapters by tsv_m", full.base, full.adapters, "tsv_m", whole.layers, 1),
        Row(f"iso_c, {shallow.layers} layers", short.base, short.tuned, "iso_c", shallow.layers, 1),
        Row(f"iso_c, {deep.layers} layers", cut.base, cut.tuned, "iso_c", deep.layers, 1),
        Row(f"iso_c, {deep.layers} layers, 2 workers", cut.base, cut.tuned, "iso_c", deep.layers, 2),
    ]
    found = [measured(row, work) for row in rows]
    spread = replace(
        rows[-1], name=f"iso_c, {deep.layers} layers, Ray", extra=("--executor", "ray", "--address", "local")
    )
    by_ray = measured(spread, work)
    by_name = {row["name"]: row for row in found}
    one, two = by_name[f"iso_c, {deep.layers} layers"], by_name[f"iso_c, {deep.layers} layers, 2 workers"]
    few = by_name[f"iso_c, {shallow.layers} layers"]
    return {
        **about,
        "quick": quick,
        "parameters": whole.parameters,
        "models": whole.tasks,
        "rows": found,
        "resume": resumed(rows[4], work, few["wall_s"]),
        "ray": by_ray,
        "speed_up_of_two_workers": one["wall_s"] / two["wall_s"],
        "speed_up_of_ray": one["wall_s"] / by_ray["wall_s"],
        "peak_of_more_layers": {
            "few": few["layers"],
            "many": one["layers"],
            "times": one["peak_bytes"] / few["peak_bytes"],
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a check of this program")
    parser.add_argument("--keep", action="store_true", help="leave the models for another run")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args(arguments)
    work = ROOT / "benchmarks" / "scratch" / ("large-quick" if options.quick else "large")
    torch.set_num_threads(1)
    try:
        found = run(work, quick=options.quick)
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    say(f"two workers: {found['speed_up_of_two_workers']:.2f} times as fast as one; goal 1.8")


if __name__ == "__main__":
    sys.exit(main())
