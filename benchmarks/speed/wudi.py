"""WUDI solved exactly against the published 300 steps of Adam: the same objective, its value and the time it takes.

``python -m benchmarks.speed.wudi`` writes ``benchmarks/results/wudi.json``; ``--quick`` prints a small run instead.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, median, say
from mergeometry.methods.wudi import WUDI, interference
from mergeometry.sources import TensorReader, open_adapter, read_factors
from mergeometry.values import Delta, LowRank
from mergeometry_suite.experts import SHIPPED
from mergeometry_suite.tasks import TEXT_8

COMMAND = "python -m benchmarks.speed.wudi"
PAGE = ROOT / "docs" / "methods.md"
RESULT = ROOT / "benchmarks" / "results" / "wudi.json"
STEPS, RATE = 300, 1e-5
ADAPTED = (
    "encoder.layer.5.attention.self.query.weight",
    "encoder.layer.2.intermediate.dense.weight",
    "encoder.layer.2.output.dense.weight",
)
DENSE = ((768, 768), (768, 3072))
TASKS = 8
ENTRY = 3e-4
"""Root mean square of a dense task vector's entries, as fine-tuning at small rates leaves them."""

PATIENCE = 150.0
"""If all published steps fit in these seconds, all are taken; else only as many as fit, and the rest extrapolated."""


def measure(quick: bool) -> dict[str, Any]:
    """Every case's rows, on one thread."""
    torch.set_num_threads(1)
    names, shapes = (ADAPTED[:1], ((48, 64),)) if quick else (ADAPTED, DENSE)
    steps, patience = (5, 1.0) if quick else (STEPS, PATIENCE)
    rows = [row(f"adapters, {name}", adapters(name), steps, patience) for name in names]
    rows += [row(f"dense, {m} x {n}", dense(m, n), steps, patience) for m, n in shapes]
    return {**circumstances(), "threads": 1, "steps": steps, "learning_rate": RATE, "cases": rows}


def row(name: str, deltas: Sequence[Delta], steps: int, patience: float) -> dict[str, Any]:
    """Objective and seconds of the start, the exact answer, and the steps in both forms."""
    full = [delta.dense() if isinstance(delta, LowRank) else delta for delta in deltas]
    exact, exact_seconds = timed(lambda: WUDI()(deltas), 3)
    closed, closed_seconds = timed(lambda: WUDI(solver="adam", steps=steps, learning_rate=RATE)(full), 1)
    stepped, step_seconds = published(full, steps, patience)
    per_step = median(step_seconds)
    found: dict[str, Any] = {
        "case": name,
        "shape": list(full[0].shape),
        "tasks": len(full),
        "ranks": [delta.rank if isinstance(delta, LowRank) else None for delta in deltas],
        "start": interference(torch.stack(full).sum(dim=0), full),
        "exact": {"objective": interference(plain(exact), full), "seconds": exact_seconds},
        "adam_closed_gradient": {"objective": interference(plain(closed), full), "seconds": closed_seconds},
        "adam_published": {
            "objective": interference(stepped, full) if len(step_seconds) == steps else None,
            "steps_timed": len(step_seconds),
            "seconds_a_step": per_step,
            "seconds": per_step * steps,
        },
    }
    found["times_faster"] = found["adam_published"]["seconds"] / exact_seconds
    say(
        f"  {name}: {found['times_faster']:.0f} times faster, {found['exact']['objective']:.3g} of {found['start']:.3g}"
    )
    return found


def published(deltas: Sequence[Tensor], steps: int, patience: float) -> tuple[Tensor, list[float]]:
    """The published loop, in float32 by automatic differentiation, until the patience is used up."""
    stacked = torch.stack(list(deltas))
    sizes = stacked.square().sum(dim=(1, 2))
    tau = torch.nn.Parameter(stacked.sum(dim=0))
    adam = torch.optim.Adam([tau], lr=RATE)
    seconds: list[float] = []
    while len(seconds) < steps and (len(seconds) < 3 or sum(seconds) < patience):
        started = time.perf_counter()
        adam.zero_grad()
        loss = ((tau - stacked) @ stacked.mT).square().div(sizes[:, None, None]).sum()
        loss.backward()
        adam.step()
        seconds.append(time.perf_counter() - started)
    return tau.detach(), seconds


def timed(work: Callable[[], Delta], repeats: int) -> tuple[Delta, float]:
    """The result of the work, and its median seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - started)
    return found, median(seconds)


def adapters(name: str) -> list[LowRank]:
    """One weight's task vectors in the eight adapters that are shipped with the suite."""
    found = []
    with TensorReader() as reader:
        for task in TEXT_8:
            delta = open_adapter(SHIPPED / task, task).deltas[name]
            left, right = read_factors(reader.read, delta)
            found.append(LowRank(left, torch.eye(delta.rank) * delta.scaling, right.mT))
    return found


def dense(m: int, n: int) -> list[Tensor]:
    """Task vectors of random directions and power-law spectra of random exponents, over a little noise."""
    generator = torch.Generator().manual_seed(m + n)
    short, found = min(m, n), []
    for _ in range(TASKS):
        left, right = (torch.linalg.qr(torch.randn(side, short, generator=generator))[0] for side in (m, n))
        exponent = 0.5 + 0.7 * float(torch.rand((), generator=generator))
        tau = left * torch.arange(1, short + 1) ** -exponent @ right.mT
        tau = tau + 0.01 * torch.randn(m, n, generator=generator) / max(m, n) ** 0.5
        found.append(tau * ENTRY / tau.square().mean().sqrt())
    return found


def plain(delta: Delta) -> Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta


def main(arguments: Sequence[str] | None = None, result: Path = RESULT) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    found = measure(quick)
    if quick:
        print(json.dumps(found, indent=1))
    else:
        result.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        PAGE.write_text(on_page(PAGE.read_text("utf-8"), found), "utf-8")


def on_page(text: str, found: dict[str, Any]) -> str:
    """The page of methods with its table of WUDI rewritten."""
    lines = [
        "| eight task vectors | objective: sum | 300 Adam steps | exact | seconds: Adam | exact | times faster |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["cases"]:
        exact, adam = row["exact"], row["adam_published"]
        lines.append(
            f"| {row['case']} | {row['start']:.2g} | {row['adam_closed_gradient']['objective']:.2g} "
            f"| {exact['objective']:.2g} | {adam['seconds']:.0f} | {exact['seconds']:.2g} | {row['times_faster']:.0f} |"
        )
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("python", "torch"))
    machine = found["machine"]
    lines += [
        "",
        f"One thread, beside other work (load {machine['load_before']:.0f}): read the ratios. `{COMMAND}`, "
        f"{found['date']}; {machine['cpu']}, {machine['cores']} cores; {versions}.",
    ]
    return between(text, "wudi", "\n".join(lines) + "\n", COMMAND)


if __name__ == "__main__":
    main()
