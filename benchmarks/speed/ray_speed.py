"""The same merge by one process, two processes and two workers of Ray: ``python -m benchmarks.speed.ray_speed``.

The commands take turns, so that a busy moment of the machine affects all alike. The seconds of starting Ray and of
checking its nodes are told apart from those of the merge itself, which the run record has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from benchmarks.speed.measure import ONE_THREAD
from mergeometry.sink.record import read_record

WAYS = {
    "1 process": ["--workers", "1"],
    "2 processes": ["--workers", "2"],
    "Ray, 2 workers": ["--workers", "2", "--executor", "ray", "--address", "local"],
}


def write_models(folder: Path, layers: int, side: int, tasks: int) -> list[Path]:
    """A base and fine-tunes of it: square matrices of random numbers."""
    generator = torch.Generator().manual_seed(0)
    base = {f"layers.{layer}.dense.weight": torch.randn(side, side, generator=generator) for layer in range(layers)}
    written = []
    for name in ("base", *(f"task{task}" for task in range(tasks))):
        tuned = {
            key: weight if name == "base" else weight + 0.01 * torch.randn(side, side, generator=generator)
            for key, weight in base.items()
        }
        (folder / name).mkdir()
        safetensors.torch.save_file(tuned, folder / name / "model.safetensors", metadata={"format": "pt"})
        written.append(folder / name)
    return written


def merged(models: list[Path], output: Path, method: str, options: list[str]) -> dict[str, Any]:
    """Merge once; the seconds of the whole command, and of the merging stage in it."""
    base, *tuned = map(str, models)
    inputs = ["--base", base, *(word for model in tuned for word in ("--model", model)), "--method", method]
    command = [
        sys.executable,
        "-m",
        "mergeometry",
        "merge",
        *inputs,
        "--output",
        str(output),
        "--no-report",
        "--quiet",
        *options,
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
    seconds = time.perf_counter() - started
    record = read_record(output).to_json()
    weights = hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()
    return {"seconds": seconds, "merging": record["timings"]["stages"]["merge"]["seconds"], "sha256": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--method", default="tsv_m")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        models = write_models(Path(place), given.layers, given.side, given.tasks)
        for number in range(given.repeat):
            for way, options in WAYS.items():
                found[way].append(merged(models, Path(place) / f"{number}-{way}", given.method, options))
    assert len({run["sha256"] for runs in found.values() for run in runs}) == 1, "the bytes differ"
    first = statistics.median(run["merging"] for run in found["1 process"])
    for way, runs in found.items():
        whole, merging = (statistics.median(run[key] for run in runs) for key in ("seconds", "merging"))
        print(f"{way:16} whole command {whole:7.1f} s, merging {merging:7.1f} s, {first / merging:.2f} times 1 process")
    if given.json:
        given.json.write_text(json.dumps({"settings": vars(given) | {"json": None}, "runs": found}, indent=1))


if __name__ == "__main__":
    main()
