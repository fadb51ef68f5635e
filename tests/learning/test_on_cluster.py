"""Learning as a job of a cluster: the same files as here, its course shown, and what a lost worker saved continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeometry.api import make_plan
from mergeometry.errors import ExecutionError, RecipeError
from mergeometry.learning import on_cluster
from mergeometry.learning.run import adapt
from mergeometry.learning.state import Point
from tests.helpers import learning_models, models
from tests.helpers.elsewhere import Elsewhere

pytest.importorskip("transformers")

SETTINGS = {"objective": "distill", "steps": 3, "batch_size": 4, "check_every": 1, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    family = learning_models.family(tmp_path_factory.mktemp("family"), count=12)
    return learning_models.with_settings(family, SETTINGS, method={"name": "tsv_m", "rank": 2})


@pytest.fixture(scope="module")
def here(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("here") / "out"
    adapt(make_plan(recipe), output, device="cpu", workers=1)
    return hashes(output)


def hashes(output: Path) -> dict[str, str]:
    return {name: one for name, one in models.file_hashes(output).items() if name != "mergeometry.json"}


def test_it_gives_the_same_files_and_shows_its_course(
    recipe: dict[str, Any], here: dict[str, str], tmp_path: Path
) -> None:
    there, said, points = Elsewhere(), list[str](), list[Point]()
    adapt(
        make_plan(recipe), tmp_path / "out", device="auto", executor=there,
        say=lambda text, done, total: said.append(text), report=points.append,
    )  # fmt: skip
    assert hashes(tmp_path / "out") == here
    assert there.ran[0] == "learn_there learning" and "reading data" in said
    assert [point.step for point in points] == [0, 1, 2, 3] and points[-1].held_out is not None
    assert not list((tmp_path / ".out.mergeometry-learning").glob("*.jsonl"))


@pytest.mark.suite
def test_another_worker_continues_from_the_last_check(
    recipe: dict[str, Any], here: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, attempts, seen = make_plan(recipe), list[int](), list[int]()
    whole = on_cluster.learn_there

    class LostError(Exception):
        """The worker is gone, in the middle of a line."""

    def lost_once(job: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            with monkeypatch.context() as patch:
                from mergeometry.learning.state_file import StateFile

                written = StateFile.write

                def write(self: StateFile, state: Any) -> None:
                    written(self, state)
                    if state.step == 2:
                        raise LostError

                patch.setattr(StateFile, "write", write)
                with pytest.raises(LostError):
                    whole(job)
            with (job.folder / "reports.jsonl").open("a") as file:
                file.write('{"point": {"st')
        return whole(job)

    monkeypatch.setattr(on_cluster, "learn_there", lost_once)
    adapt(plan, tmp_path / "out", executor=Elsewhere(), report=lambda point: seen.append(point.step))
    assert hashes(tmp_path / "out") == here
    assert seen[:2] == [0, 1] and seen[-1] == 3 and seen.count(1) == 1


def test_what_cannot_be_had_or_fails_is_said(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no node of the cluster offers a GPU"):
        adapt(make_plan(recipe), tmp_path / "out", device="cuda", executor=Elsewhere())

    def stop(point: Point) -> None:
        raise ExecutionError("enough")

    with pytest.raises(ExecutionError, match="enough"):
        adapt(make_plan(recipe), tmp_path / "out", device="cpu", executor=Elsewhere(), report=stop)
    assert not (tmp_path / "out").exists()
