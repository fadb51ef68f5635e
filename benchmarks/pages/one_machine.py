"""What merges of a 7B model take on one machine with 1 to 64 cores: plans, a measured start and a measured disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pages.table import table
from benchmarks.speed.measure import ROOT

RESULTS = ROOT / "benchmarks" / "results"
CORES = (1, 2, 16, 64)
READ = "cold: read and write, 2 threads"
START = "small merge"


def cores_table(plans: Sequence[Mapping[str, Any]]) -> str:
    """Seconds on so many cores, and what bounds them."""
    start, disk = constants()
    rows = []
    for one in plans:
        if one["size"] != "7B" or one["tasks"] != 4:
            continue
        found = [on_cores(one, cores, start, disk) for cores in CORES]
        rows.append((one["method"], *(f"{seconds:,.0f} s, {by}" for seconds, by in found)))
    heads = ("merge", *(f"{cores} core{'s' if cores > 1 else ''}" for cores in CORES))
    said = f"The start takes {start:.1f} s, and the disk reads and writes {disk / 1e9:.1f} GB/s in all.\n"
    return "\n".join(table(heads, iter(rows))) + f"\n{said}"


def on_cores(one: Mapping[str, Any], cores: int, start: float, disk: float) -> tuple[float, str]:
    """The serial start, and then the longest of what is shared out, one tensor, and the disk."""
    times = {
        "arithmetic": one["core_seconds"] / cores,
        "the longest tensor": one["longest_seconds"],
        "the disk": (one["read"] + one["written"]) / disk,
    }
    bound = max(times, key=lambda name: times[name])
    return start + times[bound], bound


def constants() -> tuple[float, float]:
    """Seconds of a start, and bytes per second of a disk, as they were measured."""
    start = next(row["ours"]["processor_s"] for row in _read("regressions")["rows"] if row["name"] == START)
    elementwise = _read("elementwise")
    raw = next(row for row in elementwise["rows"] if row["name"] == READ)
    files = elementwise["settings"]["tasks"] + 2  # the base and the output are of the same size
    return start, 4 * elementwise["settings"]["parameters"] * files / raw["wall_s"]


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())
