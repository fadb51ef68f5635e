"""Runs rows in processes of their own, two at a time, and keeps each result, so that an interrupted run goes on."""

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

from benchmarks.learning.child import write_texts
from benchmarks.learning.rows import Row

ROOT = Path(__file__).parents[2]
WORK = ROOT / "benchmarks" / "work" / "learning"


def run_rows(
    rows: Sequence[Row], seeds: Sequence[int], split: str, *, side_by_side: int = 2, threads: int = 1
) -> dict[str, list[dict[str, Any]]]:
    """Each row's results, one for each seed, in the seeds' order."""
    texts = WORK / "texts"
    if not texts.is_dir():
        write_texts(texts)
    wanted = [(row, seed) for row in rows for seed in seeds]
    done = 0

    def one(pair: tuple[Row, int]) -> dict[str, Any]:
        nonlocal done
        row, seed = pair
        started = time.monotonic()
        result = _kept(row, seed, split, texts, threads)
        done += 1
        took = time.monotonic() - started
        print(f"[{done}/{len(wanted)}] {row.name}, seed {seed}: {took:.0f} s", file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(side_by_side) as pool:
        found = list(pool.map(one, wanted))
    results: dict[str, list[dict[str, Any]]] = {}
    for (row, _), result in zip(wanted, found, strict=True):
        results.setdefault(row.name, []).append(result)
    return results


def _kept(row: Row, seed: int, split: str, texts: Path, threads: int) -> dict[str, Any]:
    given = {"row": row.spec(), "seed": seed, "split": split, "texts": str(texts), "threads": threads}
    told = json.dumps({**given, "texts": ""}, sort_keys=True)
    place = WORK / "results" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
    if place.is_file():
        return json.loads(place.read_text("utf-8"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.learning.child"]
    ran = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"{row.name}, seed {seed}: {ran.stderr[-2000:]}")
    result = {**json.loads(ran.stdout.splitlines()[-1]), "seed": seed}
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(result), "utf-8")
    return result
