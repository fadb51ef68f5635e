"""Tasks of lm-evaluation-harness in a folder: found by name, read as plain YAML, with data from files beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry import limits
from mergeometry.errors import DataError, RecipeError, in_one_line
from mergeometry.inputs.extras import optional
from mergeometry.recipe.files import text_of
from mergeometry.recipe.yaml import parse_yaml
from mergeometry.regular_files import read_regular
from mergeometry.words import nearest

if TYPE_CHECKING:
    from mergeometry.comparison.tasks_file import LabelledSource

_FORMATS = ("json", "csv", "parquet")
_METRICS = {"multiple_choice": ("acc", "acc_norm"), "loglikelihood": ("acc",)}
"""What is 0 or 1 for each document, by the kind of task."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_KEYS = frozenset(
    [
        "task",
        "tag",
        "task_alias",
        "dataset_path",
        "dataset_name",
        "dataset_kwargs",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "output_type",
        "description",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "target_delimiter",
        "fewshot_delimiter",
        "num_fewshot",
        "metric_list",
        "metadata",
    ]
)
"""Keys that are read: all of them are plain values, or templates that run in a sandbox."""


@dataclass(frozen=True)
class HarnessData:
    """One task of lm-evaluation-harness: its first documents, by number, and how each is scored."""

    items: tuple[int, ...]
    task: str
    config: str
    """The task's configuration as JSON, with whole paths."""
    metric: str
    digest: str
    kind: str = "documents"
    notes: tuple[str, ...] = ()


def read_harness(source: LabelledSource, kind: str, base: Path) -> HarnessData:
    """Read a task of a folder, and count its documents; no code of the task is run.

    ``kind`` is that of the models that it scores, and ``base`` the folder with their tokenizer.

    Raises:
        RecipeError: there is no such task, it has no such metric, it needs code or a hub, or does not fit the models.
        DataError: lm-evaluation-harness is not installed, or the task or its data cannot be read.
    """
    from mergeometry.comparison.harness import build_task, sandboxed  # noqa: PLC0415  (imports lm_eval)

    if kind != "causal":
        raise RecipeError("`lm_eval` tasks are for causal language models, and the base is not one")
    if not any((base / name).is_file() for name in _TOKENIZERS):
        raise RecipeError("`lm_eval` tasks need a tokenizer, and the base's folder holds none", file=base)
    assert source.lm_eval is not None and source.include_path is not None
    file, config = _found(source.lm_eval, Path(source.include_path))
    _check(config, file)
    metric = _metric(config, source.metric, file)
    files = list(_place_data(config, file))
    config["metric_list"] = [{"metric": metric}]
    installed = optional("lm_eval", "lm-eval", "scoring by a task of lm-evaluation-harness")
    try:
        with sandboxed():
            count = len(build_task(config).eval_docs)
    # lm_eval and datasets answer malformed tasks and tables with errors of every kind.
    except Exception as error:
        raise DataError(f"lm_eval cannot read the task: {in_one_line(error)}", file=file) from error
    if count == 0:
        raise DataError("the task has no documents", file=file)
    taken = min(count, source.limit or count)
    notes = (f"the first {taken:,} of {count:,} documents",) if taken < count else ()
    digest = hashlib.sha256(json.dumps([config, taken, installed.__version__], sort_keys=True).encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return HarnessData(tuple(range(taken)), source.lm_eval, json.dumps(config), metric, digest.hexdigest(), notes=notes)


def _found(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file of a folder that describes the task, and what it says."""
    if not folder.is_dir():
        raise RecipeError("`include_path` is no folder", file=folder)
    refused: dict[Path, RecipeError] = {}
    tasks: dict[str, tuple[Path, dict[str, Any]]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        try:
            given = parse_yaml(text_of(file, "the task"), file)
        except RecipeError as error:
            refused[file] = error
            continue
        if isinstance(given, dict) and isinstance(given.get("task"), str):
            tasks[given["task"]] = (file, given)
    if name in tasks:
        return tasks[name]
    for file, error in refused.items():
        if name.encode() in _content(file):
            error.hint = "only plain YAML is read: a task with `!function` would run code of its folder"
            raise error
    raise RecipeError(f"no task is named {name!r}{nearest(name, list(tasks))}", file=folder)


def _content(file: Path) -> bytes:
    """What is in a file that was refused; nothing where it is no regular one."""
    try:
        return read_regular(file, limits.JSON_BYTES)
    except OSError:
        return b""


def _check(config: Mapping[str, Any], file: Path) -> None:
    other = sorted(key for key in config if key not in _KEYS)
    if other:
        raise RecipeError(
            f"the task has the key {other[0]!r}, which is not read here", file=file,
            hint="write the task in one file, with keys that need no code: " + ", ".join(sorted(_KEYS)),
        )  # fmt: skip
    if config.get("output_type") not in _METRICS:
        raise RecipeError(
            f"the task's `output_type` is {config.get('output_type')!r}, which is not scored here",
            file=file, hint=" or ".join(_METRICS),
        )  # fmt: skip


def _metric(config: Mapping[str, Any], asked: str | None, file: Path) -> str:
    possible = _METRICS[config["output_type"]]
    listed = config.get("metric_list") or [{"metric": name} for name in possible]
    known = [one["metric"] for one in listed if isinstance(one, dict) and one.get("metric") in possible]
    if not known:
        raise RecipeError(f"the task has no metric that is scored here: {', '.join(possible)}", file=file)
    if asked is not None and asked not in known:
        raise RecipeError(f"the task has no metric {asked!r}{nearest(asked, known)}", file=file)
    return asked or known[0]


def _place_data(config: dict[str, Any], file: Path) -> Iterator[Path]:
    """Make the paths of a task's tables whole, and give each of them."""
    if config.get("dataset_path") not in _FORMATS:
        raise RecipeError(
            f"the task takes its data from {config.get('dataset_path')!r}, and nothing is fetched from a hub",
            file=file, hint="save the data in files: dataset_path: json, dataset_kwargs: {data_files: {test: FILE}}",
        )  # fmt: skip
    given = config.get("dataset_kwargs") or {}
    files = given.get("data_files")
    if (
        set(given) != {"data_files"}
        or not isinstance(files, dict)
        or not all(isinstance(v, str) for v in files.values())
    ):
        raise RecipeError(
            "`dataset_kwargs` is not {data_files: {SPLIT: FILE}}, one file for each split", file=file,
        )  # fmt: skip
    placed = {split: file.parent / name for split, name in files.items()}
    for path in placed.values():
        if not path.is_file():
            raise DataError("there is no such file of the task's data", file=path)
    config["dataset_kwargs"] = {"data_files": {split: str(path.resolve()) for split, path in placed.items()}}
    yield from placed.values()
