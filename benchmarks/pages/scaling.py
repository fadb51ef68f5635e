"""Writes the tables of docs/scaling.md: ``python -m benchmarks.pages.scaling``.

Merges of models of full size are planned from headers alone, by the library's own plan and cost functions, and shared
out over nodes by what docs/scaling.md says of them. ``--measure`` plans anew (minutes); without it the tables are
written from the committed figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mergeometry as mg
from benchmarks.pages.headers_only import SIZES, Size, write, write_adapter
from benchmarks.pages.marks import between
from benchmarks.pages.one_machine import cores_table
from benchmarks.speed.measure import ROOT, say
from benchmarks.studies import memory_estimates
from mergeometry.plan import Plan, machine
from mergeometry.plan.reading import bytes_beside

PAGE = ROOT / "docs" / "scaling.md"
RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
LARGE = ROOT / "benchmarks" / "results" / "large.json"
COMMAND = "python -m benchmarks.pages.scaling"
METHODS = ("average", "ties", "tsv_m", "adapters by tsv_m")
NODES = (1, 8, 64)


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, and what the shared storage gives to all of them together."""

    cores: int = 32
    memory: float = 128e9
    network: float = 3e9
    """Bytes per second from and to the storage: 25 Gbit/s."""
    storage: float = 20e9
    """Bytes per second that the storage gives and takes in all."""


NODE = Node()


@dataclass(frozen=True)
class Planned:
    """What a plan says of a merge: bytes, core seconds, the longest tensor's, and memory for numbers of workers."""

    size: str
    method: str
    tasks: int
    tensors: int
    read: int
    written: int
    core_seconds: float
    longest_seconds: float
    peaks: Mapping[str, int]
    """Workers on a node to bytes."""


def planned(folder: Path) -> Iterator[Planned]:
    """Plan every method on every size with 4 and 8 models."""
    for size in SIZES:
        base = write(folder / size.name / "base", size)
        models = [write(folder / size.name / f"task{task}", size) for task in range(8)]
        adapters = [write_adapter(folder / size.name / f"adapter{task}", size, 16) for task in range(8)]
        for method in METHODS:
            for tasks in (4, 8):
                given = adapters if method.startswith("adapters") else models
                plan = mg.make_plan(
                    base=base, models=[str(place) for place in given[:tasks]], method=method.split()[-1]
                )
                one = whole(size, method, tasks, plan)
                say(f"  {size.name}, {method}, {tasks} models: {one.core_seconds / 3600:.1f} core hours")
                yield one


def whole(size: Size, method: str, tasks: int, plan: Plan) -> Planned:
    """What the plan of two layers says of all."""
    costs = [(size.times(task.name), task.cost) for task in plan.tasks]
    written = sum(size.times(task.name) * output.nbytes for task in plan.tasks for output in task.outputs)
    largest = sorted((cost.memory for times, cost in costs for _ in range(times)), reverse=True)
    beside = bytes_beside(task for task in plan.tasks for _ in range(size.times(task.name)))
    peaks = {
        str(workers): (machine.COMMAND_BYTES if workers > 1 else beside)
        + workers * machine.PROCESS_BYTES
        + sum(largest[:workers])
        for workers in range(1, NODE.cores + 1)
    }
    return Planned(
        size.name, method, tasks, len(largest), sum(times * cost.read for times, cost in costs), written,
        sum(times * cost.seconds for times, cost in costs), max(cost.seconds for _, cost in costs), peaks,
    )  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A merge on some nodes: hours, workers on each, and what bounds it."""

    hours: float
    workers: int
    memory: int
    bound: str


def on_nodes(one: Planned, nodes: int, node: Node = NODE) -> Estimate:
    """The longest of the arithmetic shared out, the longest tensor, and the transfers."""
    fitting = [int(workers) for workers, peak in one.peaks.items() if peak <= node.memory]
    if not fitting:
        return Estimate(float("inf"), 0, one.peaks["1"], "memory")
    workers = max(fitting)
    rate = min(nodes * node.network, node.storage)
    times = {
        "cores" if workers == node.cores else "memory": one.core_seconds / (nodes * workers),
        "the longest tensor": one.longest_seconds,
        "storage" if rate == node.storage else "network": (one.read + one.written) / rate,
    }
    bound = max(times, key=lambda name: times[name])
    return Estimate(times[bound] / 3600, workers, one.peaks[str(workers)], bound)


def hours(seconds: float) -> str:
    """Hours and minutes as one says them."""
    if seconds == float("inf"):
        return "does not fit"
    return f"{seconds / 3600:.0f} h" if seconds >= 36_000 else f"{seconds / 3600:.1f} h" if seconds >= 5400 else (
        f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, seconds):.0f} s"
    )  # fmt: skip


def constants_table() -> str:
    rows = [
        ("a process that has loaded torch and SciPy", f"{machine.PROCESS_BYTES / 1e6:.0f} MB"),
        ("float64 operations of one core in decompositions", f"{machine.FLOAT64_FLOPS_PER_SECOND / 1e9:.0f} Gflop/s"),
        ("bytes read or written, checked and hashed", f"{machine.BYTES_PER_SECOND / 1e9:.1f} GB/s per core"),
        ("entries of a task vector formed and added", f"{machine.ELEMENTS_PER_SECOND / 1e6:.0f} million/s per core"),
        (
            "entries multiplied out from thin factors",
            f"{machine.FORMED_PER_SECOND / 1e6:.0f} million/s per core",
        ),
    ]
    return _table(("what", "figure"), rows)


def sizes_table(plans: Sequence[Planned]) -> str:
    rows = []
    for one in plans:
        per_node = [on_nodes(one, nodes) for nodes in NODES]
        rows.append(
            (
                one.size, one.method, str(one.tasks), f"{one.read / 1e9:,.0f} GB", f"{one.written / 1e9:,.0f} GB",
                hours(one.core_seconds), f"{per_node[0].memory / 1e9:.0f} GB, {per_node[0].workers}",
                *(f"{hours(each.hours * 3600)}, {each.bound}" for each in per_node),
            )
        )  # fmt: skip
    columns = ("model", "merge", "T", "read", "written", "core time", "memory and workers of a node")
    return _table((*columns, *(f"{nodes} node{'s' if nodes > 1 else ''}" for nodes in NODES)), rows)


def runs_table(found: Mapping[str, Any]) -> str:
    """The runs on a 1.2B Llama against their plans."""
    rows = [
        (
            row["name"], str(row["tensors"]), f"{row['wall_s']:.0f} s", f"{row['planned_s']:.0f} s",
            f"{row['planned_s'] / row['wall_s']:.2f}", f"{row['peak_bytes'] / 1e6:.0f} MB",
            f"{row['planned_bytes'] / 1e6:.0f} MB", f"{row['peak_bytes'] / row['planned_bytes']:.2f}",
        )
        for row in found["rows"]
    ]  # fmt: skip
    stopped = found["resume"]
    two = next(row for row in found["rows"] if row["name"].startswith("iso_c") and row["workers"] == 2)
    one = next(row for row in found["rows"] if two["name"].startswith(row["name"]) and row["workers"] == 1)
    growth = found["peak_of_more_layers"]
    work = (two["user_s"] + two["system_s"]) / (one["user_s"] + one["system_s"])
    most = 2 * one["wall_s"] / (two["user_s"] + two["system_s"])
    columns = (
        "merge",
        "tensors",
        "seconds",
        "planned",
        "planned over measured",
        "peak",
        "planned",
        "peak over planned",
    )
    return (
        _table(columns, rows)
        + f"\nTwo workers are {found['speed_up_of_two_workers']:.2f} times as fast as one where arithmetic bounds the "
        f"merge, by `iso_c`; they take {work:.2f} times its processor time, which leaves {most:.2f}. Two of a Ray "
        f"cluster on the same two cores are {found['speed_up_of_ray']:.2f} times as fast as one, with the "
        f"start of the cluster ({found['ray']['wall_s']:.0f} s in all). With {growth['many']} layers in place of "
        f"{growth['few']} the peak is {growth['times']:.2f} times as high.\n"
        f"Stopped by Ctrl-C after {stopped['until_stopped_s']:.0f} s with {stopped['kept']} of {stopped['tensors']} "
        f"tensors done, a merge of {stopped['whole_s']:.0f} s was continued in {stopped['continued_s']:.0f} s, to the "
        "same bytes.\n\n"
        f"{_circumstances(found)}\n"
    )


def _circumstances(found: Mapping[str, Any]) -> str:
    machine_ = found["machine"]
    return (
        f"{found['date']}, commit {found['commit']}; {machine_['cpu']}, {machine_['cores']} cores, "
        f"{machine_['memory_bytes'] / 2**30:.0f} GiB; load average before: {machine_['load_before']}."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def page(text: str) -> str:
    """The page with its tables written again from the committed figures."""
    plans = [Planned(**one) for one in json.loads(RESULTS.read_text())]
    text = between(text, "constants", constants_table(), COMMAND)
    text = between(text, "sizes", sizes_table(plans), COMMAND)
    text = between(text, "cores", cores_table([asdict(one) for one in plans]), COMMAND)
    memory = json.loads(memory_estimates.RESULTS.read_text())
    peaks = f"{memory_estimates.table_of(memory)}\n\n{_circumstances(memory)}\n"
    text = between(text, "peaks", peaks, COMMAND)
    runs = runs_table(json.loads(LARGE.read_text())) if LARGE.exists() else "Not measured yet.\n"
    return between(text, "runs", runs, COMMAND)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="plan anew")
    options = parser.parse_args(arguments)
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            plans = [asdict(one) for one in planned(Path(folder))]
        RESULTS.write_text(json.dumps(plans, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    sys.exit(main())
