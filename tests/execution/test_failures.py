"""What is wrong with a value is named, nothing is published, and no input is touched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import ExecutionError, MergeometryError, NumericalError, OutputError, SourceError
from mergeometry.execution import compute, pool
from mergeometry.execution.head_files import safe_name
from mergeometry.methods.families.cost import PIECE_ELEMENTS
from mergeometry.methods.families.electing import Searching
from mergeometry.plan import TensorTask
from mergeometry.sink import staging
from tests.helpers import models


def staged(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "staging" in path.name)


def planted(place: Path, name: str, value: float) -> None:
    tensors = models.loaded(place)
    tensors[name].view(-1)[-1] = value
    models.write_model(place, tensors)


def refused(recipe: dict[str, Any], output: Path, **options: Any) -> NumericalError:
    before = models.file_hashes(output.parent)
    with pytest.raises(NumericalError) as caught:
        mg.merge(recipe, output, workers=1, **options)
    assert not output.exists()
    after = {name: digest for name, digest in models.file_hashes(output.parent).items() if "staging" not in name}
    assert after == before
    return caught.value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", ["average", "ties", "iso_c", "tsv_m", "model_stock", "karcher"])
@pytest.mark.parametrize("where", ["base", "task1"])
def test_values_that_are_not_finite_are_named(tmp_path: Path, where: str, method: str, value: float) -> None:
    family = models.write_family(tmp_path)
    planted(tmp_path / where, "layer.1.dense.weight", value)
    error = refused({**family, "method": method}, tmp_path / "out")
    assert (error.model, error.tensor) == (where, "layer.1.dense.weight")
    assert "1 of 40 values are NaN or infinite" in str(error) and where in str(error.file)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["base", "task0", "task1"])
@pytest.mark.parametrize(
    ("method", "scale"),
    [
        ("average", 0.0),
        ("slerp", 1.0),
        ({"name": "slerp", "t": 0}, 0.0),
        ({"name": "model_stock", "filter_wise": True}, 1.0),
    ],
)
def test_what_adds_nothing_to_a_merge_is_tested_too(
    tmp_path: Path, method: object, scale: float, where: str, value: float
) -> None:
    family = models.write_family(tmp_path, count=2)
    planted(tmp_path / where, "layer.1.dense.weight", value)
    weights = [1.0, 1.0 if method != "average" else 0.0]
    tuned = [{"path": place, "weight": weight} for place, weight in zip(family["models"], weights, strict=True)]
    error = refused({**family, "models": tuned, "method": method, "scale": scale}, tmp_path / "out")
    assert (error.model, error.tensor) == (where, "layer.1.dense.weight")
    assert "1 of 40 values are NaN or infinite" in str(error)


@pytest.mark.parametrize("method", ["average", "ties"])
def test_what_is_read_in_pieces_is_counted_against_the_whole(tmp_path: Path, method: str) -> None:
    count = 3 * PIECE_ELEMENTS
    family = models.write_family(tmp_path, count=2, shapes={"norm.weight": (count,)})
    planted(tmp_path / "task1", "norm.weight", math.nan)
    said = str(refused({**family, "method": method}, tmp_path / "out"))
    assert f"at least 1 of {count} values are NaN or infinite" in said


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_in_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    family = models.write_family(tmp_path, dtype=dtype)
    whole = models.loaded(tmp_path / "task0")
    values = whole["embed.weight"].double()
    values[3, 3] = math.nan
    models.write_model(tmp_path / "task0", {**whole, "embed.weight": values.to(dtype)})
    error = refused({**family, "method": "average"}, tmp_path / "out")
    assert (error.model, error.tensor) == ("task0", "embed.weight")


def test_in_a_tensor_that_is_copied(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, adapters=3)
    planted(tmp_path / "base", "embed.weight", math.nan)
    error = refused({**family, "method": "tsv_m"}, tmp_path / "out")
    assert (error.model, error.tensor) == ("base", "embed.weight")


SCALES = torch.tensor([127, 255], dtype=torch.uint8).view(torch.float8_e8m0fnu)


@pytest.mark.parametrize("kept", [torch.tensor([1 + 2j, complex(1, math.nan)]), SCALES])
@pytest.mark.parametrize("role", ["base", "everywhere", "head"])
def test_in_a_tensor_of_a_dtype_that_is_not_merged(tmp_path: Path, kept: torch.Tensor, role: str) -> None:
    family = models.write_family(tmp_path, adapters=3 if role == "base" else 0)
    places = {"base": ["base"], "everywhere": ["base", "task0", "task1", "task2"], "head": ["task1"]}[role]
    for place in places:
        models.write_model(tmp_path / place, {**models.loaded(tmp_path / place), "head.kept": kept})
    error = refused(
        {**family, "method": "average", **({"heads": ["head.*"]} if role == "head" else {})}, tmp_path / "out"
    )
    assert (error.model, error.tensor) == (places[0], "head.kept") and "1 of 2 values" in str(error)


@pytest.mark.parametrize("output", [{}, {"adapter": True}])
def test_in_the_factor_of_an_adapter(tmp_path: Path, output: dict[str, Any]) -> None:
    family = models.write_family(tmp_path, adapters=3)
    factors = models.random_factors(2, models.MODULES)
    factors["layer.1.dense"][1][0, 0] = math.inf
    models.write_adapter(tmp_path / "task2", factors)
    error = refused({**family, "method": "dc_merge", "output": output}, tmp_path / "out")
    assert (error.model, error.tensor) == ("task2", "base_model.model.layer.1.dense.lora_B.weight")


def test_in_a_head(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    models.write_model(
        tmp_path / "task1", {**models.loaded(tmp_path / "task1"), "head.weight": torch.tensor([math.nan])}
    )
    error = refused({**family, "method": "average", "heads": ["head.*"]}, tmp_path / "out")
    assert (error.model, error.tensor) == ("task1", "head.weight")


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m"])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 1e7), (torch.float8_e4m3fn, 1e5), (torch.float16, 1e30)])
def test_results_that_a_dtype_does_not_hold(tmp_path: Path, dtype: torch.dtype, scale: float, method: str) -> None:
    family = models.write_family(tmp_path, dtype=dtype)
    recipe = {**family, "method": method, "tensors": [{"match": "layer.0.dense.weight", "scale": scale}]}
    error = refused(recipe, tmp_path / "out")
    assert error.tensor == "layer.0.dense.weight" and "merged values are NaN or infinite" in str(error)
    assert "lower the scale" in str(error) and error.model is None


def test_large_values_whose_sum_overflows_are_fine(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1, shapes={"a.weight": (4, 4)})
    for place in ("base", "task0"):
        models.write_model(tmp_path / place, {"a.weight": torch.full((4, 4), 3e38)})
    mg.merge({**family, "method": "average"}, tmp_path / "out", workers=1)
    assert torch.equal(models.loaded(tmp_path / "out")["a.weight"], torch.full((4, 4), 3e38))


def test_an_input_that_changes_after_the_plan(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)

    def spoil(_: TensorTask) -> None:
        models.write_model(tmp_path / "task1", models.random_tensors(99))

    with pytest.raises(SourceError, match="after its header was read"):
        mg.merge({**family, "method": "average"}, tmp_path / "out", workers=1, progress=spoil)
    assert not (tmp_path / "out").exists()


class Stopped(Exception):  # noqa: N818
    """Stands for any failure in the middle."""


def stop_after(count: int, kind: type[BaseException] = Stopped) -> Any:
    seen: list[str] = []

    def progress(task: TensorTask) -> None:
        seen.append(task.name)
        if len(seen) == count:
            raise kind

    return progress


@pytest.mark.parametrize("output", [{}, {"adapter": True}])
@pytest.mark.parametrize("count", [1, 2])
def test_a_stopped_run_is_resumed_without_doing_a_tensor_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: dict[str, Any], count: int
) -> None:
    family = models.write_family(tmp_path, adapters=3)
    recipe = {**family, "method": "dc_merge", "output": output}
    mg.merge(recipe, tmp_path / "whole", workers=1)
    with pytest.raises(Stopped) as caught:
        mg.merge(recipe, tmp_path / "out", workers=1, progress=stop_after(count))
    assert "--resume" in "".join(caught.value.__notes__)
    assert not (tmp_path / "out").exists() and staged(tmp_path)
    computed: list[str] = []
    real = compute.compute
    monkeypatch.setattr(pool, "compute", lambda job: (computed.append(job.task.name), real(job))[1])
    run = mg.merge(recipe, tmp_path / "out", workers=1, resume=True)
    tasks = [task for task in mg.make_plan(recipe).tasks if task.outputs]
    assert len(computed) == len(tasks) - count
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "whole")
    assert len(run.tensors) == sum(len(task.outputs) for task in tasks) and not staged(tmp_path)


def test_a_run_of_another_recipe_starts_afresh(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    with pytest.raises(Stopped):
        mg.merge({**family, "method": "average"}, tmp_path / "out", workers=1, progress=stop_after(2))
    mg.merge({**family, "method": "average", "scale": 0.5}, tmp_path / "out", workers=1, resume=True)
    mg.merge({**family, "method": "average", "scale": 0.5}, tmp_path / "whole", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "whole")


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    recipe = {**models.write_family(tmp_path), "method": "average"}
    with pytest.raises(ExecutionError, match="interrupted") as caught:
        mg.merge(recipe, tmp_path / "out", workers=1, progress=stop_after(1, KeyboardInterrupt))
    assert "--resume" in str(caught.value) and not (tmp_path / "out").exists()
    mg.merge(recipe, tmp_path / "out", workers=1)
    assert (tmp_path / "out").exists() and not staged(tmp_path)


def test_an_interrupt_after_publishing_says_that_the_output_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {**models.write_family(tmp_path), "method": "average"}
    mg.merge(recipe, tmp_path / "expected", workers=1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(staging, "confirm", interrupt)
    with pytest.raises(ExecutionError, match="the output is in its place, and whole"):
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "expected")
    assert not staged(tmp_path)


def test_an_output_that_exists(tmp_path: Path) -> None:
    recipe = {**models.write_family(tmp_path), "method": "average"}
    mg.merge(recipe, tmp_path / "out", workers=1)
    before = models.file_hashes(tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        mg.merge({**recipe, "scale": 2.0}, tmp_path / "out", workers=1)
    assert models.file_hashes(tmp_path / "out") == before
    mg.merge({**recipe, "scale": 2.0}, tmp_path / "out", workers=1, overwrite=True)
    assert models.weight_hashes(tmp_path / "out") != before
    with pytest.raises(OutputError, match="one of the inputs"):
        mg.merge(recipe, tmp_path / "base", workers=1, overwrite=True)
    assert not staged(tmp_path)


@pytest.mark.parametrize("name", ["a/../../b", "..", "", "tâche", "x" * 300, "a b", "CON", "con", "a\nb", "<script>"])
def test_names_of_models_make_safe_files(tmp_path: Path, name: str) -> None:
    safe = safe_name(name)
    assert safe.isascii() and "/" not in safe and safe.strip(".") and len(safe) <= 100
    assert safe == name or safe != safe_name(name + " ")


def test_heads_of_models_with_any_name(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    for number, place in enumerate(family["models"]):
        whole = models.loaded(Path(place))
        models.write_model(Path(place), {**whole, "head.weight": torch.full((2,), float(number))})
    entries = [{"path": place, "name": name} for place, name in zip(family["models"], ["../x", "..x"], strict=True)]
    mg.merge({**family, "models": entries, "method": "average", "heads": ["head.*"]}, tmp_path / "out", workers=1)
    files = sorted((tmp_path / "out" / "heads").iterdir())
    values = [float(models.loaded(file.parent, file.stem)["head.weight"][0]) for file in files]
    assert sorted(values) == [0.0, 1.0]


@pytest.mark.parametrize("failure", [ValueError("no"), MemoryError(), RuntimeError("value cannot be converted")])
def test_a_method_that_fails_is_named_with_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(Searching, "merge", fail)
    with pytest.raises(ExecutionError, match=type(failure).__name__) as caught:
        mg.merge({**models.write_family(tmp_path), "method": "ties"}, tmp_path / "out", workers=1)
    assert caught.value.tensor in models.SHAPES and "method ties" in str(caught.value)
    assert not (tmp_path / "out").exists() and not staged(tmp_path)


def test_workers_below_one(tmp_path: Path) -> None:
    with pytest.raises(MergeometryError, match="workers"):
        mg.merge({**models.write_family(tmp_path), "method": "average"}, tmp_path / "out", workers=0)
