"""The watchdog stops what it must, cells are kept and resumed, and the page and its curves show what was measured."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.pages.growth import HEIGHT, Panel, Point, growth_svg
from benchmarks.pages.page import write_page
from benchmarks.speed import (
    environments,
    peers,
    synthetic,
)
from benchmarks.speed.environments import Environment, EnvironmentFailedError
from benchmarks.speed.measure import Case, CommandFailedError, Limits, run_once
from benchmarks.speed.peer_commands import METHODS, command, tools
from benchmarks.speed.settings import Settings
from benchmarks.speed.sizes import BERT_LARGE, TINY, TINY_BERT, VIT_B, Size

ROOT = Path(__file__).parents[2]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the watchdog reads /proc")


def python(code: str, limits: Limits | None = None) -> Case:
    return Case("code", [sys.executable, "-c", code], limits=limits)


@LINUX
def test_watchdog_lets_a_command_finish(tmp_path: Path) -> None:
    code = "import time; held = bytearray(60_000_000); time.sleep(0.4)"
    run = run_once(python(code, Limits(30, 10**9)), tmp_path)
    assert run["ended"] == "done"
    assert 60e6 < run["own_peak_bytes"] <= run["peak_bytes"] < 200e6


@LINUX
def test_watchdog_stops_what_takes_too_long(tmp_path: Path) -> None:
    # The grandchild must go as well: it would hold the memory that the next command is measured with.
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2.5); pathlib.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    run = run_once(python(code, Limits(0.5, 10**9)), tmp_path)
    assert run["ended"] == "time"
    assert 0.5 <= run["wall_s"] < 2.4
    run_once(python("import time; time.sleep(3)"), tmp_path)
    assert not mark.exists()


@LINUX
def test_watchdog_stops_what_holds_too_much(tmp_path: Path) -> None:
    code = "import time\nheld = []\nwhile True: held.append(bytearray(5_000_000)); time.sleep(0.005)"
    run = run_once(python(code, Limits(30, 100_000_000)), tmp_path)
    assert run["ended"] == "memory"
    assert run["own_peak_bytes"] > 100_000_000


@LINUX
def test_watchdog_counts_children_and_not_mapped_files(tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(bytes(150_000_000))
    mapped = (
        f"import mmap, time; file = open({str(file)!r}, 'rb'); "
        "seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); seen[::4096]; time.sleep(0.4)"
    )
    run = run_once(python(mapped, Limits(30, 100_000_000)), tmp_path)
    assert run["ended"] == "done"
    assert run["peak_bytes"] > 150e6
    child = "import time; held = bytearray(150_000_000); time.sleep(20)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run_once(python(parent, Limits(30, 100_000_000)), tmp_path)["ended"] == "memory"


@LINUX
def test_a_command_that_fails_of_itself_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match="ZeroDivisionError"):
        run_once(python("1 / 0", Limits(30, 10**9)), tmp_path)


def written_here(size: Size, tasks: int, work: Path) -> list[Path]:
    """What `peers.made` writes, without a process for it."""
    folder, base = work / size.name.lower(), synthetic.base_weights(size)
    parts = ["base", *map(str, range(tasks))]
    for part in parts:
        synthetic.write_part(folder, base, part, size)
    return [folder / (part if part == "base" else f"task{part}") for part in parts]


@pytest.mark.suite
def test_models_are_written_once_and_whole(tmp_path: Path) -> None:
    models = peers.made(TINY_BERT, 2, tmp_path)
    assert [model.name for model in models] == ["base", "task0", "task1"]
    before = [(model / "model.safetensors").stat().st_mtime_ns for model in models]
    more = peers.made(TINY_BERT, 3, tmp_path)
    assert [(model / "model.safetensors").stat().st_mtime_ns for model in more[:3]] == before
    base = synthetic.base_weights(TINY_BERT)
    expected = synthetic.fine_tuned(base, TINY_BERT, 2)
    written = load_file(more[3] / "model.safetensors")
    assert set(written) == set(expected)
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


def test_a_full_disk_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(OSError, match="20 models of BERT-large need 33 GB"):
        peers.made(BERT_LARGE, 20, tmp_path)


def test_grid_covers_every_size_and_number_of_models() -> None:
    assert {cell.method for cell in peers.GRID} == set(METHODS)
    assert {cell.tasks for cell in peers.GRID if cell.size == VIT_B} == {2, 8, 20}
    assert len({cell.size for cell in peers.GRID if cell.tasks == 8}) == 3
    assert len({cell.name for cell in peers.GRID}) == len(peers.GRID)


def test_peers_recipe_is_the_same_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "program", lambda _, name: Path("/env/bin") / name)
    models = written_here(TINY, 2, tmp_path)
    limits = Limits(1, 1)
    asked = {tool: command(tool, "ties", models, tmp_path, limits).command for tool in tools("ties")}
    assert asked["mergekit"][0].endswith("mergekit-yaml")
    recipe = json.loads((tmp_path / "mergekit-ties.json").read_text())
    assert recipe["merge_method"] == "ties"
    assert [model["parameters"] for model in recipe["models"]] == [{"weight": 1.0, "density": 0.2}] * 2
    linked = Path(recipe["models"][0]["model"]) / "model.safetensors"
    assert linked.samefile(models[1] / "model.safetensors")
    assert [Path(word).name for word in asked["fusion-bench"][-4:]] == ["out-fusion-bench", "base", "task0", "task1"]
    assert tools("dare_ties") == ["mergeometry", "mergekit"]
    assert tools("iso_c") == ["mergeometry", "fusion-bench"]


def test_interrupted_run_goes_on_and_a_finished_one_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def measured(cell: peers.Cell, models: list[Path], work: Path) -> dict[str, Any]:
        assert (models[0] / "model.safetensors").exists()
        if len(done) == 2:
            done.append("interrupted")
            raise KeyboardInterrupt
        done.append(cell.name)
        return {}

    grid = tuple(peers.Cell(TINY, tasks, "average") for tasks in (1, 2, 3))
    monkeypatch.setattr(peers, "QUICK", grid)
    monkeypatch.setattr(peers, "made", written_here)
    monkeypatch.setattr(peers, "measured", measured)
    monkeypatch.setattr(Environment, "versions", lambda _: {})
    settings = Settings(tmp_path / "work", tmp_path / "results", quick=True)
    with pytest.raises(KeyboardInterrupt):
        peers.run(settings)
    assert len(list((tmp_path / "results" / "peers").glob("*.json"))) == 2
    assert not (tmp_path / "work" / "peers").exists()  # gigabytes of models
    peers.run(settings)
    assert done == ["tiny-T1-average", "tiny-T2-average", "interrupted", "tiny-T3-average"]
    peers.run(settings)
    assert done[-3:] == ["tiny-T1-average", "tiny-T2-average", "tiny-T3-average"]


def test_missing_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(EnvironmentFailedError, match=r"python -m benchmarks.speed\.environments"):
        Environment("mergekit", "0.1.5").program("mergekit-yaml")


def cell(tasks: int, method: str, **sides: dict[str, Any]) -> dict[str, Any]:
    return {
        "quick": False, "peer_versions": {"mergekit": {"mergekit": "0.1.5"}}, "versions": {"torch": "2.13.0"},
        "machine": {"cpu": "C", "cores": 2, "memory_bytes": 2**34, "system": "S", "load_before": 0.1},
        "commit": "abc", "date": "2026-11-22", "size": "ViT-B", "parameters": 85_798_656, "tasks": tasks,
        "method": method, "limits": {"seconds": 300, "own_bytes": 20 * 10**9}, "sides": sides,
        "agreement": {"mergekit": {"what": "models", "whole": 1e-7, "worst": 2e-7}} if "mergekit" in sides else {},
    }  # fmt: skip


def side(wall: float, peak: float, ended: str = "done") -> dict[str, Any]:
    return {
        "command": f"tool {wall}", "ended": ended, "wall_s": wall, "user_s": wall / 2, "system_s": 0.1,
        "peak_bytes": peak, "own_peak_bytes": peak / 2,
    }  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "peers"
    folder.mkdir(parents=True)
    found = [
        cell(2, "average", mergeometry=side(4, 0.4e9), mergekit=side(10, 2e9)),
        cell(8, "average", mergeometry=side(8, 0.4e9), mergekit=side(18, 4e9)),
        cell(2, "ties", **{"mergeometry": side(5, 0.5e9), "fusion-bench": side(60, 9e9)}),
        cell(8, "ties", **{"mergeometry": side(10, 0.5e9), "fusion-bench": side(70, 21e9, "memory")}),
        cell(8, "tsv_m", **{"mergeometry": side(80, 0.5e9), "fusion-bench": side(300.1, 5e9, "time")}),
        cell(2, "dare_ties", mergeometry=side(5, 0.5e9), mergekit={"command": "m", "ended": "failed", "words": "Bad"}),
    ]
    for number, one in enumerate(found):
        (folder / f"{number}.json").write_text(json.dumps(one))
    write_page(tmp_path / "results", tmp_path / "page.md", {"peers": peers.TITLE})
    return tmp_path


def test_page_shows_every_cell(written: Path) -> None:
    page = (written / "page.md").read_text()
    assert peers.TITLE in page
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert "| average | mergekit | 10.0 s | 2.5 x | 5.0 s | 2.00 GB | 5.0 x | 1.00 GB | 1e-07, worst 2e-07 |" in lines
    assert (
        "| ties | fusion-bench | stopped at 70.0 s |  | 35.0 s | over 21.00 GB | over 42 x | over 10.50 GB |  |"
        in lines
    )
    assert any(line.startswith("| tsv_m | fusion-bench | over 300.1 s | over 3.8 x |") for line in lines)
    assert any(line.startswith("| dare_ties | mergekit | failed: `Bad` |") for line in lines)
    assert "pictures/peers-tasks.svg" in page
    assert "peers-sizes" not in page  # one size alone grows nowhere


def test_curves_hold_what_was_measured(written: Path) -> None:
    picture = ET.parse(written / "pictures" / "peers-tasks.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in picture.iter(f"{space}text")]
    assert {"average, s", "average, GB", "ties, s", "ties, GB", "2", "8", "models"} <= set(words)
    # Two tools in each of four panels, but of ties the peer's seconds at 8 models are not known: a point, no line.
    assert len(list(picture.iter(f"{space}polyline"))) == 7


def test_stopped_points_are_hollow_and_higher_figures_are_higher() -> None:
    lines = {"ours": [Point(2, 1.0), Point(8, 10.0)], "a <peer>": [Point(2, 100.0, stopped=True)]}
    text = growth_svg([[Panel("m & n", "s", lines)]], "models", {2: "2", 8: "8"})
    picture = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    low, high = (
        float(point.split(",")[1]) for point in next(picture.iter(f"{space}polyline")).attrib["points"].split()
    )
    assert 0 < high < low < HEIGHT
    (group,) = picture.iter(f"{space}g")
    (square,) = [path for path in group.iter(f"{space}path") if "transform" in path.attrib]
    assert square.attrib["fill"] == "#ffffff"
    assert float(square.attrib["transform"].split()[1].rstrip(")")) < high
    assert "a &lt;peer&gt;" in text
    with pytest.raises(ValueError, match="nothing to draw"):
        growth_svg([[]], "models", {2: "2"})
    with pytest.raises(ValueError, match="above zero"):
        growth_svg([[Panel("m", "s", {"ours": [Point(2, 0.0)]})]], "models", {2: "2"})
