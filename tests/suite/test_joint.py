"""The joint model: trained through every task's own head, scored on every task, whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergeometry.errors import DataError
from mergeometry_suite import joint
from mergeometry_suite.backbone import PIECES, backbone
from mergeometry_suite.command import find_task, load_expert
from mergeometry_suite.full import FullRegime
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.splits import Splits
from mergeometry_suite.staging import read_provenance
from mergeometry_suite.tasks import Task, load

TASKS = ("trec", "language")
ONCE = FullRegime(epochs=1, batch=16)


def few(task: Task) -> Splits:
    splits = load(task)
    return Splits(splits.train.take(48), splits.validation.take(40), splits.test.take(40))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint, "load", few)
        patch.setattr(joint, "list_tasks", lambda _suite: tuple(find_task(name) for name in TASKS))
        return joint.train_joint("text-8", tmp_path_factory.mktemp("joint") / "text-8", said.append, regime=ONCE), said


@pytest.mark.suite
def test_words_of_every_task_move(trained: tuple[Path, list[str]]) -> None:
    name = "embeddings.word_embeddings.weight"
    change = load_file(trained[0] / "model.safetensors")[name] - load_file(backbone() / "model.safetensors")[name]
    tokenizer = Tokenizer(backbone(), PIECES)
    read = {piece for task in TASKS for text in tokenizer.pieces(few(find_task(task)).train.texts) for piece in text}
    assert set(change.abs().sum(1).nonzero().flatten().tolist()) == read


@pytest.mark.suite
def test_the_record_scores_every_task(trained: tuple[Path, list[str]]) -> None:
    record = read_provenance(trained[0])
    assert record["tasks"] == list(TASKS) and record["steps"] == 6
    for task in TASKS:
        texts, head = few(find_task(task)).test, load_expert(task).head
        features = Encoder(trained[0]).encode(Tokenizer(trained[0], PIECES).prepare(texts.texts))
        right = (head.logits(features).argmax(1) == torch.tensor(texts.labels)).float().mean().item()
        assert right == pytest.approx(record["accuracy"][task]["test"], abs=1e-4)


@pytest.mark.suite
def test_a_finished_model_is_left_alone(trained: tuple[Path, list[str]]) -> None:
    said: list[str] = []
    before = (trained[0] / "model.safetensors").stat().st_mtime_ns
    joint.train_joint("text-8", trained[0], said.append)
    assert said == ["text-8: already trained"]
    assert (trained[0] / "model.safetensors").stat().st_mtime_ns == before
    assert trained[1][0].startswith("text-8: epoch 1/1: loss")


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "joint_folder", lambda suite: tmp_path / suite)
    with pytest.raises(DataError, match="no joint model of 'text-8'"):
        joint.load_joint("text-8")
    with pytest.raises(DataError, match="no text suite 'text-9'"):
        joint.load_joint("text-9")
