"""Comparisons of small models on disk: the same figures as real merges, in any number of processes and sittings."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.comparison.entries import read_entries
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.merging import merge_jobs, merge_tensor
from mergeometry.comparison.result import Comparison
from mergeometry.comparison.scratch import create
from mergeometry.comparison.setup import set_up
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import MergeometryError, MismatchError
from tests.helpers import learning_models
from tests.helpers.labelled_tasks import written

METHODS = "average, ties(density=0.3), tsv_m, dc_merge(rank=2), iso_c"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three full fine-tunes of a tiny BERT, with heads and labelled texts: `recipe.yaml` and `tasks.yaml`."""
    folder = tmp_path_factory.mktemp("family")
    recipe = learning_models.family(folder)
    return written(folder, recipe)


def compared(family: Path, output: Path, methods: Any = METHODS, **options: Any) -> Comparison:
    given: dict[str, Any] = {"scales": [0.4, 1.0, 2.0], "workers": 1, **options}
    return mg.compare(family / "recipe.yaml", methods, family / "tasks.yaml", output=output, **given)


def same(one: Comparison, other: Comparison) -> bool:
    """Whether two comparisons have the same figures: what they took may differ."""

    def bare(found: Comparison) -> Comparison:
        rows = tuple(replace(row, seconds=0.0) for row in found.rows)
        return replace(found, rows=rows, seconds=0.0, peak_memory=0)

    return bare(one) == bare(other)


@pytest.fixture(scope="module")
def found(family: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared(family, tmp_path_factory.mktemp("found"))


@pytest.mark.parametrize("method", ["ties", "tsv_m", "dc_merge", "iso_c"])
def test_a_figure_is_that_of_a_real_merge_at_that_scale(
    family: Path, found: Comparison, tmp_path: Path, method: str
) -> None:
    row = next(row for row in found.rows if row.method["name"] == method)
    for scale, figures in ((1.0, row.at_one), (row.best_scale, row.at_best)):
        recipe = {**json.loads((family / "recipe.yaml").read_text()), "method": row.method, "scale": scale}
        mg.merge(recipe, tmp_path / f"merged-{scale}", workers=1, overwrite=True)
        tasks = load_tasks(family / "tasks.yaml")
        assert evaluate(tmp_path / f"merged-{scale}", tasks).tasks == pytest.approx(figures.tasks)
    assert len({value for row in found.rows for value in row.validation.values()}) > 3


def test_the_ends_are_the_base_and_the_fine_tunes(family: Path, found: Comparison) -> None:
    tasks, recipe = load_tasks(family / "tasks.yaml"), json.loads((family / "recipe.yaml").read_text())
    assert evaluate(Path(recipe["base"]), tasks).tasks == pytest.approx(found.base)
    for model in recipe["models"]:
        name = model["name"] if isinstance(model, dict) else Path(model).name
        path = model["path"] if isinstance(model, dict) else model
        scores = mg.evaluate(path, family / "tasks.yaml", base=recipe["base"]).tasks
        assert scores[name] == pytest.approx(found.experts[name])


@pytest.mark.parametrize("tensors", [[], [{"match": "*layer.0*", "scale": 0.25}]])
def test_merged_task_vectors_are_those_that_a_merge_writes(
    family: Path, tmp_path: Path, tensors: list[dict[str, Any]]
) -> None:
    given = {**json.loads((family / "recipe.yaml").read_text()), "tensors": tensors}
    entries, _ = read_entries(METHODS)
    setup = set_up(mg.load_recipe(given), entries, load_tasks(family / "tasks.yaml"), (), everything=False)
    jobs, sizes = merge_jobs(setup.plans, tmp_path)
    create(sizes)
    base = safetensors.torch.load_file(Path(given["base"]) / "model.safetensors")
    results = [(job, merge_tensor(job)) for job in jobs]
    # What all methods merge alike is merged once.
    assert {len(job.variants) for job in jobs if "LayerNorm" in job.name} == {2}
    assert len({job.name for job in jobs}) == len(jobs)
    for place, entry in enumerate(entries):
        mg.merge({**given, "method": dict(entry.method)}, tmp_path / f"merged-{place}", workers=1)
        merged = safetensors.torch.load_file(tmp_path / f"merged-{place}" / "model.safetensors")
        for job, result in results:
            index = next(i for i, variant in enumerate(job.variants) if place in variant.users)
            task = job.variants[index].task
            expected = base[job.name] + task.scale * result.stored[index].read()
            torch.testing.assert_close(expected, merged[job.name], rtol=1e-5, atol=1e-6)
            assert task.scale == (0.25 if tensors and "layer.0" in job.name else 1.0)


@pytest.mark.suite
def test_any_number_of_processes_finds_the_same(family: Path, tmp_path: Path) -> None:
    one, two = (
        compared(family, tmp_path / str(workers), "tsv_m, ties(density=0.3)", scales=[2.0], workers=workers)
        for workers in (1, 2)
    )
    assert same(one, two)


def test_scratch_files_of_a_killed_run_go_with_the_next(family: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getpid()):
        (tmp_path / f".scratch-{process}-x").mkdir()
    compared(family, tmp_path, "average", scales=[1])
    assert {path.name for path in tmp_path.iterdir()} == {"results", f".scratch-{os.getpid()}-x"}


def test_an_interrupted_comparison_goes_on(family: Path, found: Comparison, tmp_path: Path) -> None:
    steps: list[str] = []

    def interrupt(text: str, done: int, _total: int) -> None:
        steps.append(text)
        if sum("validation" in step for step in steps) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(family, tmp_path, say=interrupt)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert len(kept) > 7 and list(tmp_path.iterdir()) == [tmp_path / "results"]
    assert same(compared(family, tmp_path), found)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.suite
def test_another_scale_and_method_add_to_what_is_known(family: Path, tmp_path: Path) -> None:
    compared(family, tmp_path / "out", "average, tsv_m", scales=[0.5])
    again: list[str] = []
    methods = "average, tsv_m, iso_c"
    more = compared(family, tmp_path / "out", methods, scales=[0.5, 2.0], say=lambda text, *_: again.append(text))
    scored = [step for step in again if " at " in step]
    assert "average at 2 on validation inputs" in scored and "iso_c at 0.5 on validation inputs" in scored
    assert not {"average at 0.5 on validation inputs", "tsv_m at 1 on test inputs"} & set(scored)
    assert same(more, compared(family, tmp_path / "fresh", methods, scales=[0.5, 2.0]))
    silent: list[str] = []
    compared(family, tmp_path / "out", methods, scales=[0.5, 2.0], say=lambda text, *_: silent.append(text))
    assert silent == []


@pytest.mark.suite
def test_other_inputs_or_weights_are_scored_anew(family: Path, tmp_path: Path) -> None:
    recipe = json.loads((family / "recipe.yaml").read_text())
    tasks = load_tasks(family / "tasks.yaml")
    first = mg.compare(recipe, "average", tasks, output=tmp_path, scales=[1], workers=1)
    (task, *others) = tasks.tasks
    fewer = task.model_copy(update={"test": task.test.model_copy(update={"limit": 5})})
    again = mg.compare(
        recipe, "average", tasks.model_copy(update={"tasks": (fewer, *others)}), output=tmp_path, scales=[1], workers=1
    )
    assert first.inputs["test"][task.name] != again.inputs["test"][task.name] == 5
    recipe["models"] = [{**m, "weight": 0.0} if n == 0 else m for n, m in enumerate(as_mappings(recipe["models"]))]
    steps: list[str] = []
    mg.compare(
        recipe, "average", tasks, output=tmp_path, scales=[1], workers=1, say=lambda text, *_: steps.append(text)
    )
    assert "average at 1 on test inputs" in steps


def as_mappings(models: list[Any]) -> list[dict[str, Any]]:
    return [model if isinstance(model, dict) else {"path": model, "name": Path(model).name} for model in models]


def test_a_model_left_out_makes_its_task_unseen(family: Path, found: Comparison, tmp_path: Path) -> None:
    away = found.seen[1]
    without = compared(family, tmp_path, "average, tsv_m", leave_out=[away])
    assert without.unseen == (away,) and away not in without.seen
    for row in without.rows:
        assert set(row.at_best.unseen) == {away} and row.at_best.unseen_gain is not None
        assert row.at_best.unseen_gain == pytest.approx(row.at_best.unseen[away] - found.base[away])
    recipe = json.loads((family / "recipe.yaml").read_text())
    models = [model for model in as_mappings(recipe["models"]) if model.get("name") != away]
    row = next(row for row in without.rows if row.name == "tsv_m")
    mg.merge({**recipe, "models": models, "method": "tsv_m", "scale": row.best_scale}, tmp_path / "merged", workers=1)
    scores = evaluate(tmp_path / "merged", load_tasks(family / "tasks.yaml")).tasks
    assert scores[away] == pytest.approx(row.at_best.unseen[away])


def test_everything_that_does_not_fit_is_said_at_once(family: Path, tmp_path: Path) -> None:
    given = json.loads((family / "tasks.yaml").read_text())
    first, second, third = given["tasks"]
    first["name"] = first["name"] + "x"
    second["test"] = {"path": str(family / second["test"]), "label": "lable"}
    third["validation"] = {"path": str(tmp_path / "nowhere.jsonl")}
    third["classes"] = ["only one"]
    for task in given["tasks"]:
        for split in ("validation", "test"):
            if isinstance(task[split], str):
                task[split] = str(family / task[split])
    with pytest.raises(MismatchError) as caught:
        mg.compare(
            family / "recipe.yaml",
            ["average", "tsv_m(rank=4000)"],
            given,
            output=tmp_path / "out",
            leave_out=["nobody"],
        )
    said = str(caught.value)
    assert f"no model is named '{first['name']}', did you mean" in said
    assert "no column 'lable', did you mean 'label'" in said
    assert "names 1 classes" in said
    assert "rank 4000 is out of range" in said
    assert "no model is named 'nobody'" in said
    assert not (tmp_path / "out").exists()


def test_all_leaves_out_what_does_not_fit(family: Path) -> None:
    entries, everything = read_entries("all")
    recipe = mg.load_recipe(json.loads((family / "recipe.yaml").read_text()))
    setup = set_up(recipe, entries, load_tasks(family / "tasks.yaml"), (), everything=everything)
    assert {"average", "tsv_m"} <= {entry.name for entry in setup.entries}
    assert len(setup.entries) + sum("left out" in note for note in setup.notes) == len(entries)


def test_a_recipe_that_learns_is_refused(family: Path, tmp_path: Path) -> None:
    recipe = {**learning_models.family(tmp_path), "method": "tsv_m"}
    with pytest.raises(MergeometryError, match="without learning"):
        mg.compare(recipe, "average", family / "tasks.yaml", output=tmp_path / "out")


def test_language_models_are_scored_by_the_perplexity_of_their_own_loss(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    learning_models.save_base(model, tmp_path / "base")
    tasks = []
    for number in range(2):
        learning_models.save_tuned(model, tmp_path / f"task{number}", number, size=0.3)
        tasks.append(learning_models.task_of(tmp_path, number, None, 24))
    recipe = {
        "base": str(tmp_path / "base"), "models": [str(tmp_path / f"task{n}") for n in range(2)],
        "adapt": {"tasks": tasks},
    }  # fmt: skip
    written(tmp_path, recipe, kind="causal")
    found = compared(tmp_path, tmp_path / "out", "task_arithmetic", scales=[0.5])
    assert found.measure == "perplexity"
    (row,) = found.rows
    own = json.loads((tmp_path / "recipe.yaml").read_text())
    mg.merge({**own, "method": "task_arithmetic", "scale": row.best_scale}, tmp_path / "merged", workers=1)
    for folder, figures in (("base", found.base), ("merged", row.at_best.tasks)):
        for task in found.seen:
            expected = perplexity_of(tmp_path / folder, tmp_path / "base", tmp_path / f"{task}-test.jsonl")
            assert figures[task] == pytest.approx(expected, rel=1e-4)
    assert found.experts["task1"] == pytest.approx(
        perplexity_of(tmp_path / "task1", tmp_path / "base", tmp_path / "task1-test.jsonl"), rel=1e-4
    )
    assert evaluate(tmp_path / "merged", load_tasks(tmp_path / "tasks.yaml")).tasks == pytest.approx(row.at_best.tasks)


def perplexity_of(folder: Path, base: Path, texts: Path) -> float:
    """By the loss that transformers itself computes, one text at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(base)
    total, count = 0.0, 0
    for line in texts.read_text("utf-8").splitlines():
        tokens = tokenizer(json.loads(line)["text"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            total += float(model(input_ids=tokens, labels=tokens).loss) * (tokens.shape[1] - 1)
        count += tokens.shape[1] - 1
    return math.exp(total / count)


def test_images_are_scored_as_the_model_itself_sees_them(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel, ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(2)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8,
    )  # fmt: skip
    model = ViTModel(config, add_pooling_layer=False)
    learning_models.save_base(model, tmp_path / "base")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "base")
    learning_models.save_tuned(model, tmp_path / "task0", 0, size=0.3)
    learning_models.save_head(tmp_path / "head.safetensors", 3, 16, 0)
    rows = []
    for number in range(9):
        image = torch.randint(0, 256, (20, 20, 3), dtype=torch.uint8).numpy()
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        rows.append(json.dumps({"image": f"{number}.png", "label": number % 3}))
    (tmp_path / "images.jsonl").write_text("\n".join(rows))
    place = str(tmp_path / "images.jsonl")
    tasks = {
        "tasks": [{"name": "task0", "head": str(tmp_path / "head.safetensors"), "validation": place, "test": place}]
    }
    recipe = {"base": str(tmp_path / "base"), "models": [str(tmp_path / "task0")], "method": "average"}
    found = mg.compare(recipe, "task_arithmetic", tasks, output=tmp_path / "out", scales=[1], workers=1)
    assert found.experts == pytest.approx(found.rows[0].at_one.tasks)
    head = safetensors.torch.load_file(tmp_path / "head.safetensors")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "base", use_fast=False)
    for folder, figures in (("base", found.base), ("task0", found.experts)):
        own, right = AutoModel.from_pretrained(tmp_path / folder, add_pooling_layer=False).eval(), 0
        for number in range(9):
            pixels = processor(images=Image.open(tmp_path / f"{number}.png"), return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                feature = own(pixel_values=pixels).last_hidden_state[0, 0]
            right += int((head["weight"] @ feature + head["bias"]).argmax()) == number % 3
        assert figures["task0"] == pytest.approx(right / 9)


def test_refinements_follow_the_merge(family: Path, tmp_path: Path) -> None:
    found = compared(family, tmp_path / "out", "tsv_m, tsv_m + norm", scales=[1])
    refined = next(row for row in found.rows if row.refine)
    assert refined.name == "tsv_m + norm" and refined.refine[0]["name"] == "norm"
    recipe = {**json.loads((family / "recipe.yaml").read_text()), "method": "tsv_m", "refine": ["norm"]}
    mg.merge(recipe, tmp_path / "merged", workers=1)
    scores = evaluate(tmp_path / "merged", load_tasks(family / "tasks.yaml")).tasks
    assert scores == pytest.approx(refined.at_one.tasks)
