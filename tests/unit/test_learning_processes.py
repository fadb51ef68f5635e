"""Learning in several processes: the same numbers as in one, a failure in any of them the end of all, in words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import learning_models
import models
from mergeometry.adapt.devices import chosen_device
from mergeometry.adapt.processes import Alone, join
from mergeometry.adapt.run import adapt
from mergeometry.adapt.sums import Sum
from mergeometry.api import make_plan
from mergeometry.errors import DataError, RecipeError

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

SETTINGS = {
    "objective": "mda",
    "hidden": 0.5,
    "coefficients": "direction",
    "steps": 3,
    "batch_size": 6,
    "check_every": 2,
    "learning_rate": 0.02,
    "accelerate": True,
}
BROKEN = """
import os, sys
from mergeometry.adapt.passes import Passes
from mergeometry.errors import DataError

whole, left = Passes.gradients, [1]

def gradients(self, chosen, table):
    if os.environ["RANK"] == "1":
        if not left:
            open({fell!r}, "w").close()
            {how}
        left.pop()
    return whole(self, chosen, table)

Passes.gradients = gradients
from mergeometry.cli import main
sys.argv[0] = "mergeometry"
main()
"""
"""The command line in a process whose second one fails in its second step."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"), count=24)


@pytest.fixture
def small_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from mergeometry.adapt.encoders.text import TextEncoder

    monkeypatch.setattr(TextEncoder, "budget", 40)
    yield


def recipe_file(place: Path, family: dict[str, Any], **settings: Any) -> Path:
    recipe = learning_models.with_settings(family, {**SETTINGS, **settings}, method={"name": "tsv_m", "rank": 3})
    place.write_text(json.dumps(recipe))
    return place


def launched(script: Path, *arguments: str | Path, processes: int = 2, launcher: str = "torchrun") -> Any:
    """Run a script under a launcher, on CPUs."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    module = {"torchrun": "torch.distributed.run", "accelerate": "accelerate.commands.launch"}[launcher]
    options = ["--standalone", "--nproc_per_node", str(processes)] if launcher == "torchrun" else []
    if launcher == "accelerate":
        options = ["--cpu", "--num_processes", str(processes)]
    command = [sys.executable, "-m", module, *options, str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def script(folder: Path, body: str) -> Path:
    place = folder / "script.py"
    # Many small passes, so that the processes have something to share.
    head = "from mergeometry.adapt.encoders.text import TextEncoder\nTextEncoder.budget = 40\n"
    place.write_text(head + body)
    return place


MERGES = """
import sys
from mergeometry.api import merge
if __name__ == "__main__":
    for output in sys.argv[2:]:
        assert merge(sys.argv[1], output).adapt["steps"] == 3
"""
PLAIN = "from mergeometry.cli import main\nmain()\n"


def learned(output: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(output / "adapt/coefficients.safetensors")


def test_two_processes_learn_what_one_does(tmp_path: Path, family: dict[str, Any], small_passes: None) -> None:
    recipe = recipe_file(tmp_path / "recipe.json", family)
    adapt(make_plan(str(recipe)), tmp_path / "one", device="cpu")
    done = launched(script(tmp_path, MERGES), recipe, tmp_path / "two", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    one, two = learned(tmp_path / "one"), learned(tmp_path / "two")
    assert one.keys() == two.keys() and any(bool((value != 1).any()) for value in one.values())
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-6, atol=1e-7)
    curves = [json.loads((tmp_path / name / "adapt/curves.json").read_text()) for name in ("one", "two")]
    assert [point["step"] for point in curves[0]] == [point["step"] for point in curves[1]] == [0, 1, 2, 3]
    assert curves[1][-1]["held_out"] == pytest.approx(curves[0][-1]["held_out"], rel=1e-6)
    hashes = [models.file_hashes(tmp_path / name) for name in ("two", "again")]
    for found in hashes:
        found.pop("mergeometry.json")  # holds seconds
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise DataError('a page of the book is missing')", r"process 1 .* failed.*: a page of the book is missing"),
        pytest.param("os._exit(3)", r"exitcode *: 3", marks=pytest.mark.slow),
    ],
)
def test_a_failure_in_one_process_ends_all(tmp_path: Path, family: dict[str, Any], how: str, said: str) -> None:
    recipe = recipe_file(tmp_path / "recipe.json", family, steps=2000)
    fell = tmp_path / "fell"
    run = script(tmp_path, BROKEN.format(how=how, fell=str(fell)))
    done = launched(run, "merge", recipe, "--output", tmp_path / "merged")
    ended = time.time()
    assert done.returncode == 1
    assert ended - fell.stat().st_mtime < 15
    assert re.search(said, done.stderr) and done.stderr.count("a page of the book") <= 1
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_one_process_speaks(tmp_path: Path, family: dict[str, Any]) -> None:
    recipe = recipe_file(tmp_path / "recipe.json", family, steps=1)
    done = launched(script(tmp_path, PLAIN), "merge", recipe, "--output", tmp_path / "merged")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("merged 3 models") == 1


@pytest.mark.slow
def test_what_is_wrong_for_all_is_said_once(tmp_path: Path, family: dict[str, Any]) -> None:
    recipe = recipe_file(tmp_path / "recipe.json", family, accelerate=False)
    done = launched(script(tmp_path, PLAIN), "merge", recipe, "--output", tmp_path / "merged")
    assert done.returncode == 1 and not (tmp_path / "merged").exists()
    assert done.stderr.count("error: several processes were started") == 1
    assert "adapt: {accelerate: true}" in done.stderr


@pytest.mark.slow
def test_accelerate_launch_of_one_process(tmp_path: Path, family: dict[str, Any], small_passes: None) -> None:
    recipe = recipe_file(tmp_path / "recipe.json", family)
    done = launched(script(tmp_path, PLAIN), "merge", recipe, "--output", tmp_path / "merged", processes=1,
                    launcher="accelerate")  # fmt: skip
    assert done.returncode == 0, done.stderr
    adapt(make_plan(str(recipe)), tmp_path / "one", device="cpu")
    for key, value in learned(tmp_path / "one").items():
        assert torch.equal(learned(tmp_path / "merged")[key], value)


def test_without_accelerate_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(DataError) as caught:
        join(True, "cpu")
    assert "pip install" in str(caught.value)
    assert isinstance(join(False, "cpu"), Alone)


def test_several_processes_have_to_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="several processes"):
        join(False, "cpu")
    with pytest.raises(RecipeError, match="is one device"):
        join(True, "cuda:1")


def test_sums_of_gradients_that_cancel_are_exact() -> None:
    parts = [torch.tensor([1.0, 3e7]), torch.tensor([1e-9, 1.0]), torch.tensor([-1.0, -3e7])]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        total = sum(parts[index].double() for index in order)
        found = Sum()
        found.take({"coefficients/a": total})  # pyright: ignore[reportArgumentType]
        assert found.coefficients["a"].dtype == torch.float32
        torch.testing.assert_close(found.coefficients["a"], torch.tensor([1e-9, 1.0]), rtol=1e-6, atol=0)


def test_devices_by_name() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1"):
        with pytest.raises(RecipeError, match="there is no device"):
            chosen_device(name)
    if torch.cuda.is_available():
        assert chosen_device("auto").type == chosen_device("cuda").type == "cuda"
        with pytest.raises(RecipeError, match="the last is cuda"):
            chosen_device("cuda:99")
    else:
        assert chosen_device("auto") == torch.device("cpu")
        with pytest.raises(RecipeError, match="no GPU"):
            chosen_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["mda", "full", "distill", "checkpointing", "accelerate"])
def test_a_gpu_learns_what_the_cpu_does(tmp_path: Path, family: dict[str, Any], kind: str) -> None:
    more = {
        "mda": {},
        "full": {"rotation": "full"},
        "distill": {"objective": "distill", "coefficients": "pair"},
        "checkpointing": {"activation_checkpointing": True},
        "accelerate": {"accelerate": True},
    }[kind]
    recipe = recipe_file(tmp_path / "recipe.json", family, **{"accelerate": False, **more})
    for device in ("cpu", "cuda"):
        adapt(make_plan(str(recipe)), tmp_path / device, device=device)
    one, two = learned(tmp_path / "cpu"), learned(tmp_path / "cuda")
    for key, value in one.items():
        # Adam turns rounding into steps where a gradient is nearly zero.
        assert float((two[key] - value).abs().median()) < 1e-4
    # Taken up again on the GPU, from a state that was written to disk.
    assert learned_after_interruption(recipe, tmp_path / "resumed").keys() == one.keys()


def learned_after_interruption(recipe: Path, output: Path) -> dict[str, torch.Tensor]:
    def stop(point: Any) -> None:
        if point.step == 3:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        adapt(make_plan(str(recipe)), output, device="cuda", report=stop)
    adapt(make_plan(str(recipe)), output, device="cuda", resume=True)
    return learned(output)
