"""Heads are minimisers, and a short training run does what the long one must: the loss falls, the head stays."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergeometry.encoders.heads import Head, accuracy
from mergeometry.errors import DataError, OutputError
from mergeometry_suite import command
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import load_expert
from mergeometry_suite.heads import fit_head, fit_with_penalty, load_head, save_head
from mergeometry_suite.splits import Splits
from mergeometry_suite.tasks import Task, load
from mergeometry_suite.train import LINEARS, Regime, build_adapter, train_adapter

SHORT = Regime(epochs=2, batch=16)


def few(task: str | Task) -> Splits:
    splits = load(task)
    return Splits(splits.train.take(32), splits.validation.take(40), splits.test.take(40))


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(command, "load", few)
    yield


def test_a_head_is_the_minimiser() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(120, 6, generator=generator) * 3 + 1
    labels = (features @ torch.randn(6, 3, generator=generator)).argmax(1).tolist()
    head = fit_with_penalty(features, labels, 3, penalty=0.01)
    spread = (features - features.mean(0)).square().mean().sqrt().double()
    weight = (head.weight.double() * spread).requires_grad_(True)
    bias = (head.bias.double() + head.weight.double() @ features.mean(0).double()).requires_grad_(True)
    inputs = (features - features.mean(0)).double() / spread
    loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, torch.tensor(labels))
    (loss + 0.005 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.grad.abs().max() < 1e-5
    assert bias.grad.abs().max() < 1e-5
    assert accuracy(head, features, labels) > 0.9


def test_the_penalty_is_chosen_on_training_texts_that_were_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(60, 30, generator=generator)
    noisy = [int(value > 0) for value in train[:, 0] + 0.5 * torch.randn(60, generator=generator)]

    def left_out(penalty: float) -> int:
        correct = 0
        for fold in range(5):
            others = [row for row in range(60) if row % 5 != fold]
            head = fit_with_penalty(train[others], [noisy[row] for row in others], 2, penalty)
            correct += sum(int(head.predict(train[row : row + 1])) == noisy[row] for row in range(fold, 60, 5))
        return correct

    scores = {penalty: left_out(penalty) for penalty in (1.0, 0.3, 0.1, 0.01, 0.001)}
    assert len(set(scores.values())) > 1
    best = max(scores, key=lambda penalty: scores[penalty])  # the first of equals, which is the strongest
    assert torch.equal(fit_head(train, noisy, 2).weight, fit_with_penalty(train, noisy, 2, best).weight)


def test_a_head_survives_the_disk(tmp_path: Path) -> None:
    head = Head(torch.randn(3, 5), torch.randn(3))
    save_head(head, tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert torch.equal(again.weight, head.weight)
    assert torch.equal(again.bias, head.bias)


def test_a_fresh_adapter_is_on_every_linear_layer_and_changes_nothing_else() -> None:
    model = build_adapter(backbone(), SHORT)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 6 * len(LINEARS) * 2
    assert all("lora_" in name and "pooler" not in name for name in trained)


@pytest.mark.suite
def test_a_short_run_lowers_the_loss_and_leaves_the_head_and_the_base() -> None:
    splits = few("movie")
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(2, 384, generator=generator) / 10, torch.zeros(2))
    before = head.weight.clone()
    trained = train_adapter(backbone(), head, splits, SHORT)
    assert torch.equal(head.weight, before)
    assert [epoch.steps for epoch in trained.epochs] == [2, 4]
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    assert trained.best.validation == max(epoch.validation for epoch in trained.epochs)
    moved = [name for name, weight in trained.model.named_parameters() if "lora_B" in name and weight.abs().max() > 0]
    assert len(moved) == 36
    again = train_adapter(backbone(), head, splits, SHORT)
    assert again.epochs == trained.epochs


@pytest.mark.usefixtures("few_texts")
@pytest.mark.suite
def test_an_expert_appears_whole_and_is_not_trained_twice(tmp_path: Path) -> None:
    messages: list[str] = []
    output = tmp_path / "deep" / "trec"
    command.train_expert("trec", output, messages.append, regime=replace(SHORT, epochs=1))
    expert = load_expert("trec", output)
    assert expert.provenance["command"] == "mergeometry suite train trec"
    assert expert.provenance["data"]["texts"] == {"train": 32, "validation": 40, "test": 40}
    assert set(expert.provenance["accuracy"]) == {"base", "expert"}
    assert [path.name for path in output.parent.iterdir()] == ["trec"]
    assert any("epoch 1/1" in message for message in messages)
    weights = (output / "adapter_model.safetensors").read_bytes()
    messages.clear()
    command.train_expert("trec", output, messages.append, regime=SHORT)
    assert messages == ["trec: already trained"]
    command.train_expert("trec", output, regime=replace(SHORT, epochs=1, seed=1), overwrite=True)
    assert (output / "adapter_model.safetensors").read_bytes() != weights


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not an expert"):
            command.train_expert("trec", tmp_path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_expert_says_how_to_train_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained expert") as caught:
        load_expert("trec", tmp_path)
    assert "mergeometry suite train trec" in str(caught.value)
