"""The page on scaling is what its figures say, and its programs run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mergeometry as mg
from benchmarks.pages.headers_only import SIZES, write
from benchmarks.pages.scaling import PAGE, Node, Planned, on_nodes, page, whole
from benchmarks.speed import large


def test_the_page_is_written_from_the_committed_figures() -> None:
    text = PAGE.read_text()
    assert page(text) == text


def test_sizes_are_those_of_the_models() -> None:
    assert [round(size.parameters / 1e9, 1) for size in SIZES] == [6.7, 69.0, 394.1]


def test_two_layers_stand_for_all(tmp_path: Path) -> None:
    size = SIZES[0]
    base, model = (write(tmp_path / name, size) for name in ("base", "model"))
    assert sum(file.stat().st_blocks * 512 for file in base.iterdir()) < 1_000_000  # no room on the disk
    plan = mg.make_plan(base=base, models=[str(model), str(model)], method="average")
    one = whole(size, "average", 2, plan)
    assert (one.read, one.written) == (6 * size.parameters, 2 * size.parameters)
    assert one.tensors == 3 + 32 * 9 and one.peaks["1"] == plan.peak_memory(1) and one.peaks["3"] == plan.peak_memory(3)


def test_what_bounds_a_merge() -> None:
    peaks = {"1": 10, "2": 20, "3": 30}
    one = Planned("1B", "average", 2, 10, 60, 40, 1000.0, 200.0, peaks)
    node = Node(cores=3, memory=20, network=1.0, storage=2.0)
    assert on_nodes(one, 1, node).bound == "memory" and on_nodes(one, 1, node).hours == pytest.approx(500 / 3600)
    assert on_nodes(one, 8, node).bound == "the longest tensor"
    assert on_nodes(one, 1, Node(cores=3, memory=30, network=0.01, storage=2.0)).bound == "network"
    assert on_nodes(one, 8, Node(cores=3, memory=30, network=0.1, storage=0.2)).bound == "storage"
    assert on_nodes(one, 1, Node(cores=3, memory=9)).hours == float("inf")


@pytest.mark.suite
def test_the_runs_on_a_large_model_in_small(tmp_path: Path) -> None:
    large.main(["--quick", "--json", str(tmp_path / "large.json")])
    found = json.loads((tmp_path / "large.json").read_text())
    assert found["resume"]["same_bytes"] and {row["workers"] for row in found["rows"]} == {1, 2}
    assert all(row["peak_bytes"] <= 1.1 * row["planned_bytes"] for row in found["rows"])
