"""Workers follow memory as well as cores, and a merge that cannot fit is refused with what would make it fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import RecipeError
from mergeometry.execution.workers import likely_workers, workers_for
from mergeometry.plan import machine
from tests.helpers import models
from tests.helpers.commands import invoke

SHAPES = {"layer.0.dense.weight": (4000, 1000), "layer.1.dense.weight": (40, 30), "norm.weight": (30,)}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return models.write_family(tmp_path_factory.mktemp("family"), 2, shapes=SHAPES)


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda allowed=None: min(limit, allowed or limit))


def test_the_default_follows_memory(family: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mg.make_plan({**family, "method": "ties"})
    monkeypatch.setattr(type(plan), "seconds", lambda _self, _workers: 1000.0)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    limited(monkeypatch, plan.peak_memory(3))
    assert workers_for(plan, None) == 3
    limited(monkeypatch, plan.peak_memory(3) - 1)
    assert workers_for(plan, None) == 2
    limited(monkeypatch, 0)  # the system does not say
    assert workers_for(plan, None) == 3
    limited(monkeypatch, plan.peak_memory(2))
    with pytest.raises(RecipeError, match="of memory with 3 workers") as caught:
        workers_for(plan, 3)
    assert caught.value.hint == "--workers 2 fits"


def test_a_merge_that_does_not_fit_is_refused_with_the_cure(
    family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {**family, "method": "pcb"}
    limited(monkeypatch, mg.make_plan(recipe).peak_memory(1) - 1)
    with pytest.raises(RecipeError, match="of memory with 1 worker, and there are") as caught:
        mg.merge(recipe, tmp_path / "out")
    rule = "{match: 'layer.0.dense.weight', method: average}"
    assert f"`tensors: [{rule}]`" in str(caught.value.hint) and not list(tmp_path.iterdir())
    mg.merge({**recipe, "tensors": [{"match": "layer.0.dense.weight", "method": "average"}]}, tmp_path / "out")
    limited(monkeypatch, 1_000_000)
    with pytest.raises(RecipeError) as caught:
        mg.merge(recipe, tmp_path / "again")
    assert str(caught.value.hint).startswith("use a machine with ")


def test_a_plan_says_what_there_is(family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**family, "method": "ties"}))
    limited(monkeypatch, 10_000_000)
    shown = invoke("plan", recipe)
    assert shown.exit_code == 1 and "of the 10.0 MB of memory" in shown.output and "use a machine with" in shown.output
    told = invoke("plan", recipe, "--json")
    assert told.exit_code == 1 and json.loads(told.stdout)["available_memory_bytes"] == 10_000_000


def test_a_limit_of_the_users_own_decides(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**family, "method": "pcb"}
    plan = mg.make_plan(recipe)
    assert workers_for(plan, 2, plan.peak_memory(2)) == 2 and workers_for(plan, None, plan.peak_memory(1)) == 1
    with pytest.raises(RecipeError) as caught:
        workers_for(plan, 2, plan.peak_memory(2) - 1)
    assert caught.value.hint == "--workers 1 fits"
    with pytest.raises(RecipeError) as caught:
        mg.merge(recipe, tmp_path / "out", memory_limit="400 MB")
    cure, raised = str(caught.value.hint).split("; or ")
    assert "and there are 400.0 MB" in str(caught.value) and not list(tmp_path.iterdir())
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    cured = invoke("plan", file, "--memory-limit", "400MB", "--set", cure.split("`")[1].replace(": ", "=", 1))
    assert cured.exit_code == 0 and "of the 400.0 MB of memory" in cured.output
    allowed = invoke("merge", file, "--output", tmp_path / "out", *raised.removeprefix("allow it more: ").split())
    assert allowed.exit_code == 0, allowed.output


def test_steps_that_take_too_much_are_named(family: dict[str, Any]) -> None:
    recipe = {**family, "method": "task_arithmetic"}
    room = mg.make_plan(recipe).peak_memory(1)
    for more, cure in (({"refine": ["norm"]}, "leave out `refine`"), ({"scale": "auto"}, "give `--scale` a number")):
        with pytest.raises(RecipeError) as caught:
            workers_for(mg.make_plan({**recipe, **more}), 1, room)
        assert str(caught.value.hint).startswith(cure)


@pytest.mark.parametrize("limit", ["much", "0", "-1GB", "8 bananas", 0])
def test_a_limit_is_a_number_of_bytes(family: dict[str, Any], limit: str | int) -> None:
    with pytest.raises(RecipeError, match="a memory limit is a number of bytes"):
        workers_for(mg.make_plan({**family, "method": "ties"}), None, limit)


def test_the_limits_of_a_process_count() -> None:
    code = "import resource; from mergeometry.plan import machine; print(machine.available_memory())"
    room = machine.ADDRESS_BYTES + machine.THREAD_ADDRESS_BYTES * machine.cores()
    for flag in ("-v", "-d"):
        command = ["sh", "-c", f"ulimit {flag} {room // 1024 + 250_000}; exec {sys.executable} -c '{code}'"]
        told = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert told == (room // 1024 + 250_000) * 1024 - room


def test_copies_of_any_size_take_the_memory_of_a_piece(tmp_path: Path) -> None:
    small, large = (
        models.write_family(tmp_path / str(rows), 1, shapes={"table": (rows, 1000), "layer.0.dense.weight": (8, 6)})
        for rows in (2_000, 4_000)
    )
    for inputs in (small, large):
        place = Path(inputs["base"]).parent / "adapter"
        models.write_adapter(place, models.random_factors(1, {"layer.0.dense": (8, 6)}))
        inputs["models"] = [str(place)]
    first, second = (mg.make_plan({**inputs, "method": "average"}) for inputs in (small, large))
    assert first.peak_memory(1) == second.peak_memory(1)
    mg.merge({**small, "method": "average", "output": {"dtype": "float16"}}, tmp_path / "out", workers=1)
    table = models.loaded(Path(small["base"]))["table"]
    assert models.loaded(tmp_path / "out")["table"].equal(table.half())


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "70000\n"}, 70_000),
        ({"proc/self/cgroup": "0::/outside/x\n", "sys/fs/cgroup/memory.max": "80000\n"}, 80_000),
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/x/memory.max": "9\n", "sys/fs/cgroup/memory.max": "8\n"}, 8),
        (
            {"proc/self/cgroup": "5:cpu:/c\n4:memory:/d\n", "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "60000\n"},
            60_000,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(2**62)}, None),
    ],
)
def test_limits_of_a_container_count(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    write(tmp_path, **files)
    whole = machine.available_memory(root=tmp_path / "nothing")
    assert whole > 2**28 and machine.available_memory(root=tmp_path) == (limit or whole)


def test_large_files_let_workers_load_before_anything_is_read(tmp_path: Path) -> None:
    for name, nbytes in (("large", 1 << 34), ("small", 1 << 20)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "model.safetensors").open("wb") as file:
            file.truncate(nbytes)  # no room on the disk
    assert likely_workers(None, [tmp_path / "small", tmp_path / "large"]) == machine.cores()
    assert likely_workers(None, [tmp_path / "small"]) == likely_workers(None, ["owner/on-the-hub"]) == 1
    assert likely_workers(3, [tmp_path / "small"]) == 3
