"""Runs rows in their own processes and keeps each result, so that an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.studies.learning.child import write_texts
from benchmarks.studies.learning.rows import Row

ROOT = Path(__file__).parents[3]
WORK = ROOT / "benchmarks" / "scratch" / "learning"


def run_rows(
    rows: Sequence[Row], seeds: Sequence[int], *, side_by_side: int = 2, together: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Each row's results, one for each seed, in the seeds' order.

    Every pair is a process of its own, so that its peak of memory is its own too; ``together`` gives each process all
    seeds of a row, which loads the texts once.
    """
    texts = WORK / "texts"
    if not texts.is_dir():
        write_texts(texts)
    groups = [[(row, seed) for seed in seeds] for row in rows]
    jobs = groups if together else [[pair] for group in groups for pair in group]
    done = 0

    def one(pairs: list[tuple[Row, int]]) -> None:
        nonlocal done
        started = time.monotonic()
        _run(pairs, texts)
        done += 1
        took = time.monotonic() - started
        print(f"[{done}/{len(jobs)}] {pairs[0][0].name}: {took:.0f} s", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(side_by_side) as pool:
        list(pool.map(one, jobs))
    return {row.name: [json.loads(_place(row, seed).read_text("utf-8")) for seed in seeds] for row in rows}


def kept_rows(rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """The saved results of these rows, for each the seeds that are there, without running any."""
    places = {row.name: [_place(row, seed) for seed in seeds] for row in rows}
    return {
        name: [json.loads(place.read_text("utf-8")) for place in own if place.is_file()] for name, own in places.items()
    }


def _run(pairs: list[tuple[Row, int]], texts: Path) -> None:
    wanted = [pair for pair in pairs if not _place(*pair).is_file()]
    if not wanted:
        return
    jobs = [{"row": row.spec(), "seed": seed, "threads": row.threads} for row, seed in wanted]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.studies.learning.child"],
        input=json.dumps({"jobs": jobs, "texts": str(texts)}),
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{wanted[0][0].name}: {ran.stderr[-2000:]}")
    for pair, line in zip(wanted, ran.stdout.splitlines()[-len(wanted) :], strict=True):
        place = _place(*pair)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(line, "utf-8")


def _place(row: Row, seed: int) -> Path:
    told = json.dumps({"row": row.spec(), "seed": seed}, sort_keys=True)
    return WORK / "results" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
