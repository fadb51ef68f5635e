"""The router of eight real adapters names the tasks of texts that it has not seen."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

import mergeometry as mg
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import load_expert
from mergeometry_suite.tasks import TEXT_8, load

transformers = pytest.importorskip("transformers")


@pytest.mark.suite
def test_32_texts_per_task_are_enough_to_tell_eight_tasks_apart(tmp_path: Path) -> None:
    models = [{"path": str(load_expert(task).folder), "name": task} for task in TEXT_8]
    recipe = {"base": str(backbone()), "models": models, "output": {"residuals": {"rank": 4}}}
    mg.merge(recipe, tmp_path / "merged", workers=1)
    model = transformers.AutoModel.from_pretrained(tmp_path / "merged")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")

    def batch(texts: tuple[str, ...]) -> dict[str, object]:
        return dict(tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt"))

    splits = {task: load(task) for task in TEXT_8}
    router = mg.fit_router(model, {task: batch(own.train.texts[:32]) for task, own in splits.items()})
    found = {task: router.route(model, batch(own.test.texts[:50])) for task, own in splits.items()}
    shares = {task: mean(name == task for name in names) for task, names in found.items()}
    assert mean(shares.values()) > 0.85 and min(shares.values()) > 0.6, shares
