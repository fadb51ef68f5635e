"""Scores weights of the suite's text encoder on the test texts of some tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from benchmarks.studies.scores import Expert, Scores
from mergeometry_suite.backbone import backbone
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import load

LENGTH = 32


def text_scores(experts: Mapping[str, Expert], count: int | None = None) -> Scores:
    """Scores on at most ``count`` test texts per task; nothing else is read from there."""
    tokenizer, test = Tokenizer(backbone(), LENGTH), {}
    for task in experts:
        split = load(task).test if count is None else load(task).test.take(count)
        test[task] = (tokenizer.prepare(split.texts), torch.tensor(split.labels))
    return Scores(backbone(), experts, Encoder(backbone()), test)


def write_texts(place: Path, texts: Iterable[str]) -> str:
    """Write unlabelled inputs as JSON lines, and return the place as a recipe names it."""
    place.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(place)
