"""A merge on a Ray cluster: the same bytes, whatever dies on the way; what cannot work is said before work starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import ExecutionError, NumericalError
from mergeometry.execution import residuals
from mergeometry.execution.cluster.jobs import ATTEMPTS
from mergeometry.execution.executor import Demands, Executor
from mergeometry.execution.pool import side_by_side
from tests.helpers import learning_models, models
from tests.helpers.clusters import NODE, PATIENCE, cluster, kill, wait_until, workers_running

pytestmark = pytest.mark.slow
"""A cluster of several nodes starts slowly; one node runs in the suite, in test_cluster_of_one.py."""

SHAPES = {f"layer.{number}.dense.weight": (96, 64) for number in range(12)} | models.SHAPES


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch, cluster(2, patch) as made:
        yield made


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A merge with a pass over all tensors before it, for the scale."""
    family = models.write_family(tmp_path_factory.mktemp("family"), 2, shapes=SHAPES)
    return {**family, "method": "dc_merge", "scale": {"rule": "projection", "per": "model"}}


@pytest.fixture(scope="module")
def wanted(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("local") / "out"
    mg.merge(recipe, output, workers=1)
    return models.weight_hashes(output)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_cluster_gives_the_bytes_of_one_machine(
    nodes: Any, recipe: dict[str, Any], wanted: dict[str, str], tmp_path: Path
) -> None:
    finished: list[str] = []
    executor = mg.Ray(nodes.address)
    run = mg.merge(recipe, tmp_path / "out", executor=executor, progress=lambda task: finished.append(task.name))
    assert models.weight_hashes(tmp_path / "out") == wanted and not left_behind(tmp_path)
    assert len(finished) == len(set(finished)) == len(run.tensors)
    with pytest.raises(mg.MergeometryError, match="the cluster has 2 CPUs on 2 nodes, fewer than 3 workers"):
        mg.merge(recipe, tmp_path / "more", executor=executor, workers=3)
    broken = models.loaded(Path(recipe["models"][1]))
    broken["layer.5.dense.weight"][3, 3] = float("nan")
    other = models.write_model(tmp_path / "broken", broken)
    with pytest.raises(NumericalError) as caught:
        mg.merge({**recipe, "models": [recipe["models"][0], str(other)]}, tmp_path / "bad", executor=executor)
    assert caught.value.tensor == "layer.5.dense.weight"
    assert any(note.startswith("on the node ") for note in caught.value.__notes__)
    assert not (tmp_path / "bad").exists()


def hold(job: tuple[str, str]) -> int:
    """Say which process has the job, and wait until it may go on."""
    folder, name = Path(job[0]), job[1]
    (folder / f"{name}.{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_whose_worker_dies_runs_again(nodes: Any, tmp_path: Path) -> None:
    with mg.Ray(nodes.address).opened() as executor:
        jobs = [(str(tmp_path), name) for name in ("first", "second")]

        def begun(name: str) -> list[int]:
            return [int(path.suffix[1:]) for path in tmp_path.glob(f"{name}.*")]

        with closing(side_by_side(hold, deque(jobs), 2, Killing(executor, tmp_path, begun))) as finished:
            done = dict(finished)
        assert len(begun("first")) == 2 and len(begun("second")) == 1
        assert done[jobs[0]] == next(pid for pid in begun("first") if pid == done[jobs[0]])
        named = Demands[int](name=lambda _: "layer.0.dense.weight")
        with pytest.raises(ExecutionError, match=f"the worker died {ATTEMPTS} times") as caught:
            list(side_by_side(die, deque([1]), 1, executor, named))
        assert caught.value.tensor == "layer.0.dense.weight"


class Killing:
    """An executor that kills the worker of the first job once both have begun, and lets the others go on then."""

    def __init__(self, executor: Executor, folder: Path, begun: Any) -> None:
        self._executor, self._folder, self._begun = executor, folder, begun

    def running(self, *arguments: Any) -> Any:
        from threading import Thread

        def act() -> None:
            wait_until(lambda: self._begun("second"))
            kill(wait_until(lambda: self._begun("first")))
            wait_until(lambda: len(self._begun("first")) == 2)
            (self._folder / "go").touch()

        Thread(target=act, daemon=True).start()
        return self._executor.running(*arguments)


def test_a_merge_survives_its_workers(
    nodes: Any, recipe: dict[str, Any], wanted: dict[str, str], tmp_path: Path
) -> None:
    killed: list[int] = []

    def strike(_: Any) -> None:
        if not killed and (found := workers_running()):
            kill(found)
            killed.extend(found)

    mg.merge(recipe, tmp_path / "out", executor=mg.Ray(nodes.address), progress=strike)
    assert killed and models.weight_hashes(tmp_path / "out") == wanted and not left_behind(tmp_path)


def test_residuals_survive_their_workers(
    nodes: Any, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while differences are measured, and again while they are written."""
    wanted = {**recipe, "scale": 1.0, "output": {"residuals": {"rank": 2}}}
    mg.merge(wanted, tmp_path / "here", workers=1)
    killed: list[list[int]] = []
    real = residuals.side_by_side

    def struck(*arguments: Any) -> Iterator[Any]:
        with closing(real(*arguments)) as finished:
            for number, each in enumerate(finished):
                if number == 0:
                    killed.append(workers_running())
                    kill(killed[-1])
                yield each

    monkeypatch.setattr(residuals, "side_by_side", struck)
    mg.merge(wanted, tmp_path / "out", executor=mg.Ray(nodes.address))
    hashes = [models.weight_hashes(tmp_path / name) for name in ("here", "out")]
    assert len(killed) == 2 and any(killed) and hashes[0] == hashes[1] and not left_behind(tmp_path)


def test_a_merge_survives_a_node(nodes: Any, recipe: dict[str, Any], wanted: dict[str, str], tmp_path: Path) -> None:
    extra = nodes.add_node(**NODE)
    nodes.wait_for_nodes(timeout=PATIENCE)
    lost: list[Any] = []

    def strike(_: Any) -> None:
        if not lost:
            lost.append(extra)
            nodes.remove_node(extra, allow_graceful=False)

    mg.merge(recipe, tmp_path / "out", executor=mg.Ray(nodes.address), progress=strike)
    assert lost and models.weight_hashes(tmp_path / "out") == wanted and not left_behind(tmp_path)


DRIVER = """
import json, sys
import mergeometry as mg
def said(task):
    print(task.name, flush=True)
    if said.count == 3:
        sys.stdin.read()
    said.count += 1
said.count = 1
mg.merge(json.loads(sys.argv[1]), sys.argv[2], executor=mg.Ray(sys.argv[3]), progress=said)
"""


def test_a_merge_goes_on_after_its_driver(
    nodes: Any, recipe: dict[str, Any], wanted: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, json.dumps(recipe), str(tmp_path / "out"), nodes.address]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    finished = {driver.stdout.readline().strip() for _ in range(3)}
    driver.kill()
    driver.wait()
    assert not (tmp_path / "out").exists()
    again: list[str] = []
    options: Any = {"executor": mg.Ray(nodes.address), "progress": lambda task: again.append(task.name)}
    run = mg.merge(recipe, tmp_path / "out", resume=True, **options)
    assert models.weight_hashes(tmp_path / "out") == wanted and not left_behind(tmp_path)
    # The first to be shown are those that were taken over.
    assert finished <= set(again[: len(run.tensors)]) and len(again) == len(run.tensors)


def test_learning_survives_its_worker(nodes: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    family = learning_models.family(tmp_path / "family", count=12)
    settings = {"objective": "distill", "steps": 6, "batch_size": 4, "check_every": 1, "learning_rate": 0.02}
    recipe = learning_models.with_settings(family, settings, method={"name": "tsv_m", "rank": 2})
    mg.merge(recipe, tmp_path / "here", workers=1, device="cpu")
    killed, steps = list[int](), list[int]()

    def strike(point: Any) -> None:
        steps.append(point.step)
        if not killed and point.step >= 2 and (found := workers_running()):
            kill(found)
            killed.extend(found)

    mg.merge(recipe, tmp_path / "out", executor=mg.Ray(nodes.address), report=strike)
    assert killed and steps[-1] == 6
    hashes = [models.file_hashes(tmp_path / name) for name in ("here", "out")]
    assert {name for name in hashes[0] if hashes[0][name] != hashes[1][name]} <= {"mergeometry.json"}


def test_models_are_run_on_data_by_its_workers(nodes: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    family = learning_models.family(tmp_path / "family", count=12)
    data = {"tasks": {task["name"]: task["data"] for task in family["adapt"]["tasks"]}}
    heads = {task["name"]: {"path": task["data"], "head": task["head"]} for task in family["adapt"]["tasks"]}
    inputs = {"base": family["base"], "models": family["models"]}
    for method, given in (("regmean", data), ("regmean_plusplus", data), ("fisher", {"tasks": heads})):
        recipe = {**inputs, "method": method, "data": given}
        mg.merge(recipe, tmp_path / f"{method}-here", workers=1)
        mg.merge(recipe, tmp_path / f"{method}-there", executor=mg.Ray(nodes.address))
        hashes = [models.weight_hashes(tmp_path / f"{method}-{where}") for where in ("here", "there")]
        assert hashes[0] == hashes[1], method
    assert not left_behind(tmp_path)


def test_a_node_with_other_code_is_refused(
    nodes: Any, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(Path(mg.__file__).parent, other / "mergeometry", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "mergeometry" / "values.py").open("a") as file:
        file.write("# another build\n")
    monkeypatch.setenv("PYTHONPATH", f"{other}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    node = nodes.add_node(**NODE)
    try:
        nodes.wait_for_nodes(timeout=PATIENCE)
        with pytest.raises(ExecutionError, match="nodes run other software than this process") as caught:
            mg.merge(recipe, tmp_path / "out", executor=mg.Ray(nodes.address))
        assert "other code of mergeometry" in str(caught.value) and node.node_id[:6] in str(caught.value)
        assert not (tmp_path / "out").exists() and not left_behind(tmp_path)
    finally:
        nodes.remove_node(node, allow_graceful=False)
        nodes.wait_for_nodes(timeout=PATIENCE)  # or the next test counts it as a node that is alive


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_node_that_does_not_see_the_storage_is_refused(nodes: Any, recipe: dict[str, Any], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    start = f"mount -t tmpfs none {shared} && exec {sys.executable} -m ray.scripts.scripts start --block"
    size = "--num-cpus 1 --memory 2000000000 --object-store-memory 100000000"
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{start} --address {nodes.address} {size}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        with mg.Ray(nodes.address).opened():
            import ray

            wait_until(lambda: node.poll() is not None or sum(each["Alive"] for each in ray.nodes()) == 4)
        if node.poll() is not None:
            pytest.skip("no mount namespace can be made here")
        with pytest.raises(ExecutionError, match="nodes do not see the storage that they must share") as caught:
            mg.merge(recipe, shared / "out", executor=mg.Ray(nodes.address))
        assert "it does not see the output's folder" in str(caught.value) and str(shared) in str(caught.value)
        assert not list(shared.iterdir())
    finally:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
