"""What ``mergeometry suite`` calls: list the tasks, load an expert, train one anew."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergeometry.errors import OutputError
from mergeometry.evaluate.encoder import Encoder, Tokenizer
from mergeometry.evaluate.metrics import Head, accuracy
from mergeometry.suite.backbone import NAME, PIECES, backbone
from mergeometry.suite.experts import PROVENANCE, is_complete, load_adapter, load_expert, save_adapter
from mergeometry.suite.heads import fit_head
from mergeometry.suite.packages import MINILM
from mergeometry.suite.splits import Splits
from mergeometry.suite.tasks import TASKS, Task, find_task, load
from mergeometry.suite.train import Regime, Trained, encode_with, train_adapter

__all__ = ["list_tasks", "load_expert", "train_expert"]


def list_tasks() -> tuple[Task, ...]:
    """Return the tasks of the suite, in the order in which they are always shown."""
    return tuple(TASKS.values())


def train_expert(
    task: str,
    output: Path,
    progress: Callable[[str], None] | None = None,
    *,
    regime: Regime | None = None,
    overwrite: bool = False,
) -> Path:
    """Fit the head, train the adapter, and write the expert into ``output``, which appears whole or not at all.

    An expert that stands there already is left alone unless ``overwrite``, so that an interrupted run over
    many tasks goes on where it was.
    """
    say = progress or (lambda _message: None)
    if is_complete(output) and not overwrite:
        say(f"{task}: already trained")
        return output
    if output.exists() and not (is_complete(output) or (output.is_dir() and not any(output.iterdir()))):
        raise OutputError("The output exists and is no expert.", file=output, hint="name another folder")
    found, regime = find_task(task), regime or Regime()
    folder, splits = backbone(progress), load(found)
    head, base = _fit(folder, found, splits)
    say(f"{task}: base with fitted head: validation {base['validation']:.3f}")
    trained = train_adapter(
        folder,
        head,
        splits,
        regime,
        lambda epoch: say(
            f"{task}: epoch {epoch.number}/{regime.epochs}: loss {epoch.loss:.4f}, validation {epoch.validation:.3f}"
        ),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=output.parent) as workplace:
        staged = Path(workplace) / "expert"
        staged.mkdir()
        save_adapter(trained.model, head, staged)
        scores = {"base": base, "expert": score_expert(folder, staged, head, splits)}
        record = _provenance(found, splits, regime, trained, scores)
        (staged / PROVENANCE).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        if output.exists():
            shutil.move(output, Path(workplace) / "before")
        staged.rename(output)
    return output


def score_expert(folder: Path, expert: Path, head: Head, splits: Splits) -> dict[str, float]:
    """Return the accuracies of an expert as it stands on disk."""
    model, tokenizer = load_adapter(folder, expert), Tokenizer(folder, PIECES)
    return {
        name: round(accuracy(head, encode_with(model, tokenizer.prepare(split.texts)), split.labels), 4)
        for name, split in (("validation", splits.validation), ("test", splits.test))
    }


def _fit(folder: Path, task: Task, splits: Splits) -> tuple[Head, dict[str, float]]:
    encoder, tokenizer = Encoder(folder), Tokenizer(folder, PIECES)
    train, validation, test = (
        encoder.encode(tokenizer.prepare(split.texts)) for split in (splits.train, splits.validation, splits.test)
    )
    head = fit_head(train, splits.train.labels, validation, splits.validation.labels, len(task.classes))
    scores = {
        "validation": round(accuracy(head, validation, splits.validation.labels), 4),
        "test": round(accuracy(head, test, splits.test.labels), 4),
    }
    return head, scores


def _provenance(
    task: Task, splits: Splits, regime: Regime, trained: Trained, scores: dict[str, dict[str, float]]
) -> dict[str, Any]:
    return {
        "task": task.name,
        "title": task.title,
        "command": f"mergeometry suite train {task.name}",
        "backbone": {"name": NAME, "package": MINILM.requirement, "sha256": MINILM.sha256, "licence": MINILM.licence},
        "data": {
            "package": task.source,
            "sha256": task.package.sha256,
            "licence": task.licence,
            "texts": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "word_pieces": PIECES,
            "classes": list(task.classes),
        },
        "head": "logistic regression on the base's features of the training texts; then frozen",
        "regime": asdict(regime),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "kept_epoch": trained.best.number,
        "steps": trained.epochs[-1].steps,
        "accuracy": scores,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mergeometry", "torch", "transformers", "peft")},
        },
    }
