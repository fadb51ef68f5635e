"""Write a suite as files that ``mergeometry compare`` reads: a recipe, the tasks, their inputs and heads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mergeometry.errors import DataError
from mergeometry.execution.head_files import safe_name
from mergeometry.words import nearest
from mergeometry_suite.backbone import PIECES, backbone
from mergeometry_suite.command import load_expert
from mergeometry_suite.experts import HEAD
from mergeometry_suite.habits import PLAIN, find_habit, load_habit_expert
from mergeometry_suite.language_model.backbone import TOKENS, language_backbone
from mergeometry_suite.language_model.command import find_domain, list_domains, load_language_expert
from mergeometry_suite.splits import Split
from mergeometry_suite.tasks import SUITES, find_task, load
from mergeometry_suite.vision.comparison import write_vision_tasks
from mergeometry_suite.vision.tasks import VISION_SUITES

LANGUAGE_MODEL = "language-model"
UNLABELLED = 32
"""Training inputs of each task, without labels, for merges by activations: as many as ESM's authors use."""


def suites() -> list[str]:
    """Every suite that can be written."""
    return [*SUITES, *VISION_SUITES, LANGUAGE_MODEL]


def write_suite(
    suite: str,
    output: Path,
    *,
    only: Collection[str] = (),
    full: bool = False,
    limit: int | None = None,
    seed: int = 0,
    habit: str = PLAIN,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write ``recipe.yaml``, ``tasks.yaml``, the inputs and the heads of a suite into ``output``, and return it.

    The recipe names the experts where they are: those that ship with the package; of any other training ``seed`` than
    0 those in the cache; with ``full`` the full fine-tunes there, of a seed and a ``habit``. ``limit`` is the maximum
    number of inputs per split. A few training inputs are written without their labels, for methods that merge by
    activations. With ``only``, the suite is written with these of its tasks alone.

    Raises:
        DataError: there is no such suite, or no such task in it, an expert is not trained, or a package cannot be
            fetched.
    """
    if suite not in suites():
        raise DataError(f"there is no suite {suite!r}{nearest(suite, suites())}")
    if seed and suite == LANGUAGE_MODEL:
        raise DataError("the language model's experts were trained with seed 0", hint="leave --seed out")
    if habit != PLAIN and not (full and suite in SUITES):
        raise DataError(f"the habit {habit!r} is of full fine-tunes of texts", hint="add --full, or leave --habit out")
    if suite == LANGUAGE_MODEL and full:
        raise DataError("the language model's experts are adapters", hint="leave --full out")
    names = _chosen(suite, only)
    output.mkdir(parents=True, exist_ok=True)
    if suite == LANGUAGE_MODEL:
        return _write_language(names, output, limit, progress)
    if suite in VISION_SUITES:
        base, models, tasks = write_vision_tasks(
            names, output, full=full, limit=limit, seed=seed, unlabelled=UNLABELLED, progress=progress
        )
        return _write(output, base, models, tasks)
    models, tasks = [], []
    for task in map(find_task, names):
        expert = load_habit_expert(task.name, habit, seed) if full else load_expert(task.name, seed=seed)
        models.append({"path": str(expert.folder.resolve()), "name": task.name})
        head = f"heads/{task.name}.safetensors"
        (output / "heads").mkdir(exist_ok=True)
        shutil.copyfile(expert.folder / HEAD, output / head)
        splits = load(task)
        texts = [{"text": text} for text in splits.train.take(UNLABELLED).texts]
        unlabelled = _write_rows(output, f"{task.name}-unlabelled", texts)
        entry: dict[str, Any] = {"name": task.name, "head": head, "unlabelled": unlabelled}
        for name, split in (("validation", splits.validation), ("test", splits.test)):
            entry[name] = _write_split(output, task.name, name, split if limit is None else split.take(limit))
        tasks.append(entry)
    encoder = {"kind": "text", "pooling": "mean", "max_length": PIECES}
    return _write(
        output, backbone(progress), models, {"encoder": encoder, "tasks": tasks}, keys=_keys(habit, full=full)
    )


def _keys(habit: str, *, full: bool) -> dict[str, Any]:
    """What the recipe says of full fine-tunes that are not saved as their base is: the merge is, whatever they are."""
    return {"output": {"dtype": "float32"}} if full and find_habit(habit).saved is not torch.float32 else {}


def _chosen(suite: str, only: Collection[str]) -> list[str]:
    """The tasks of a suite to write, in its order."""
    named = {**SUITES, **VISION_SUITES, LANGUAGE_MODEL: [domain.name for domain in list_domains()]}
    every = list(named[suite])
    for name in only:
        if name not in every:
            raise DataError(f"the suite {suite} has no task {name!r}{nearest(name, every)}")
    return [name for name in every if not only or name in only]


def _write_language(
    names: Collection[str], output: Path, limit: int | None, progress: Callable[[str], None] | None
) -> Path:
    models, tasks = [], []
    for domain in map(find_domain, names):
        models.append({"path": str(load_language_expert(domain.name).folder.resolve()), "name": domain.name})
        texts = domain.read()
        rows = [{"text": text} for text in texts.train[:UNLABELLED]]
        unlabelled = _write_rows(output, f"{safe_name(domain.name)}-unlabelled", rows)
        entry: dict[str, Any] = {"name": domain.name, "unlabelled": unlabelled}
        for name, split in (("validation", texts.validation), ("test", texts.test)):
            rows = [{"text": text} for text in split[:limit]]
            entry[name] = _write_rows(output, f"{safe_name(domain.name)}-{name}", rows)
        tasks.append(entry)
    encoder = {"kind": "causal", "max_length": TOKENS}
    return _write(output, language_backbone(progress), models, {"encoder": encoder, "tasks": tasks})


def _write_split(output: Path, task: str, name: str, split: Split) -> str:
    rows = [{"text": text, "label": label} for text, label in zip(split.texts, split.labels, strict=True)]
    return _write_rows(output, f"{task}-{name}", rows)


def _write_rows(output: Path, stem: str, rows: Sequence[dict[str, Any]]) -> str:
    place = f"data/{stem}.jsonl"
    (output / "data").mkdir(exist_ok=True)
    (output / place).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return place


def _write(
    output: Path, base: Path, models: Sequence[Any], tasks: dict[str, Any], keys: Mapping[str, Any] | None = None
) -> Path:
    # JSON is YAML, and has one way to write a value.
    recipe = {"base": str(base.resolve()), "models": models, "method": "tsv_m", **(keys or {})}
    (output / "recipe.yaml").write_text(json.dumps(recipe, indent=1) + "\n", "utf-8")
    (output / "tasks.yaml").write_text(json.dumps(tasks, indent=1) + "\n", "utf-8")
    return output
