"""What merges of a 7B model take on one machine with 1 to 64 cores, by a model from measured figures alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pages.table import table
from benchmarks.speed.measure import ROOT

RESULTS = ROOT / "benchmarks" / "results"
CORES = (1, 2, 16, 64)
MEASURED_BY = {"tsv_m": "iso_c, 4 layers"}
"""Measured merges whose pace stands for that of another method: both decompose in float64."""
READ = "cold: read and write, 2 threads"
START = "small merge"


def cores_table(plans: Sequence[Mapping[str, Any]]) -> str:
    """Seconds on so many cores, and what bounds them."""
    paces, start, disk = constants()
    rows = []
    for one in plans:
        if one["size"] != "7B" or one["tasks"] != 4:
            continue
        found = [on_cores(one, cores, paces[one["method"]], start, disk) for cores in CORES]
        rows.append(
            (one["method"], f"{paces[one['method']]:.2f}", *(f"{seconds:,.0f} s, {by}" for seconds, by in found))
        )
    heads = ("merge", "measured over planned", *(f"{cores} core{'s' if cores > 1 else ''}" for cores in CORES))
    said = f"The start takes {start:.1f} s, and the disk reads and writes {disk / 1e9:.1f} GB/s in all.\n"
    return "\n".join(table(heads, iter(rows))) + f"\n{said}"


def on_cores(one: Mapping[str, Any], cores: int, pace: float, start: float, disk: float) -> tuple[float, str]:
    """The serial start, and then the longest of what is shared out, one tensor, and the disk."""
    times = {
        "arithmetic": pace * one["core_seconds"] / cores,
        "the longest tensor": pace * one["longest_seconds"],
        "the disk": (one["read"] + one["written"]) / disk,
    }
    bound = max(times, key=lambda name: times[name])
    return start + times[bound], bound


def constants() -> tuple[dict[str, float], float, float]:
    """Measured over planned seconds of one worker, seconds of a start, and bytes per second of a disk."""
    runs = {row["name"]: row["wall_s"] / row["planned_s"] for row in _read("large")["rows"]}
    names = ("average", "ties", "tsv_m", "adapters by tsv_m")
    rows = {row["name"]: row for row in _read("regressions")["rows"]}
    elementwise = _read("elementwise")
    raw = next(row for row in elementwise["rows"] if row["name"] == READ)
    files = elementwise["settings"]["tasks"] + 2  # the base and the output are of the same size
    moved = 4 * elementwise["settings"]["parameters"] * files
    paces = {name: runs[MEASURED_BY.get(name, name)] for name in names}
    return paces, rows[START]["ours"]["processor_s"], moved / raw["wall_s"]


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())
