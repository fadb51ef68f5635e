"""Learning in several processes: the same numbers as in one, a failure in any of them the end of all, in words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
import safetensors.torch
import torch
from torch.distributed import TCPStore

from mergeometry.api import make_plan
from mergeometry.encoders import build_encoder
from mergeometry.encoders.seq2seq import Seq2SeqEncoder
from mergeometry.errors import DataError, ExecutionError, MergeometryError, RecipeError
from mergeometry.execution.devices import chosen_device
from mergeometry.inputs import UnlabelledData
from mergeometry.learning.experts import with_targets
from mergeometry.learning.objective import Sum
from mergeometry.learning.processes import Alone, Together, join
from mergeometry.learning.run import adapt
from mergeometry.learning.store_exchange import Exchange
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import open_checkpoint
from tests.helpers import learning_models, models

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

CPU = torch.device("cpu")
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
from mergeometry.learning.forward_backward import Passes
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
    from mergeometry.encoders.text import TextEncoder

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
    head = "from mergeometry.encoders.text import TextEncoder\nTextEncoder.budget = 40\n"
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


@pytest.mark.suite
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


@pytest.mark.suite
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
    assert ended - fell.stat().st_mtime < 60
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


def together(work: Callable[[Together], Any], count: int = 3, patience: float = 20.0) -> list[Any]:
    """What the work gives in each of several threads that play processes; an error stands for itself."""
    # On a busy machine a connection takes its time, whatever patience the processes then have with each other.
    connecting = timedelta(seconds=60)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=connecting)

    def play(rank: int) -> Any:
        own = TCPStore("127.0.0.1", store.port, is_master=False, timeout=connecting)
        try:
            exchange = Exchange(own, rank, count, CPU, timedelta(seconds=patience))
            with Together(rank, count, CPU, exchange) as processes:
                return work(processes)
        except MergeometryError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(play, range(count)))


@pytest.mark.parametrize("total", [0, 1, 2, 3, 7])
def test_results_come_in_order(total: int) -> None:
    items = list(range(total))

    def work(processes: Together) -> list[int]:
        own = (torch.full((2,), item) for item in processes.mine(items))
        return [int(found.sum()) for found in processes.in_order(total, own)]

    assert together(work) == [[2 * item for item in items]] * 3


def test_large_and_many_values_pass() -> None:
    large = torch.arange(2_500_000, dtype=torch.float32)  # more than two entries of the store

    def work(processes: Together) -> list[Any]:
        said = [processes.from_main(lambda number=number: {"n": number, "none": None}) for number in range(20)]
        return [said, torch.equal(processes.from_main(lambda: large), large)]

    assert together(work) == [[[{"n": number, "none": None} for number in range(20)], True]] * 3


def test_all_hear_of_the_first_failure() -> None:
    def work(processes: Together) -> Any:
        if processes.rank == 2:
            raise DataError("nothing is left", hint="bring more")
        return list(processes.in_order(3, iter([1])))

    first, second, third = together(work)
    for heard in (first, second):
        assert isinstance(heard, ExecutionError)
        assert "process 2 of learning failed" in str(heard) and "nothing is left" in str(heard)
        assert "bring more" in str(heard)
    assert isinstance(third, DataError)


def test_silence_ends() -> None:
    heard = Event()

    def work(processes: Together) -> Any:
        if processes.rank == 1:
            heard.wait(60)
            return None
        try:
            return list(processes.in_order(2, iter([1])))
        finally:
            heard.set()

    first, _ = together(work, count=2, patience=0.5)
    assert isinstance(first, ExecutionError) and "process 1 of learning has been silent" in str(first)


def test_other_data_on_another_machine_are_refused() -> None:
    found = together(lambda processes: processes.refuse_unlike("b" if processes.rank == 1 else "a"))
    assert all(isinstance(error, MergeometryError) for error in found)
    assert any("learns from other data" in str(error) for error in found)


def test_experts_write_their_targets_in_shares(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=38, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    learning_models.save_tokenizer(tmp_path)
    encoder = build_encoder(open_checkpoint(tmp_path, "base"), EncoderOptions(), CPU)
    assert isinstance(encoder, Seq2SeqEncoder)
    encoder.budget = 24
    inputs = encoder.prepare(UnlabelledData(tuple(learning_models.texts_of(0, 20)), "texts", (), ""))
    expected = encoder.continue_with(encoder.module, {}, inputs)
    assert len({pair.target for pair in expected.items}) > 1
    assert with_targets(encoder, {}, inputs, Alone()) == expected
    lock = Lock()  # one module, whose weights are put in place for each call

    class Locked(Seq2SeqEncoder):
        def continue_with(self, *given: Any, **more: Any) -> Any:
            with lock:
                return super().continue_with(*given, **more)

    encoder.__class__ = Locked
    assert together(lambda processes: with_targets(encoder, {}, inputs, processes)) == [expected] * 3


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
