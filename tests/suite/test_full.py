"""Full fine-tunes: every weight moves but those never run, the folder merges, and a run that is cut off goes on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.encoders.heads import Head
from mergeometry.errors import DataError, OutputError
from mergeometry_suite import command
from mergeometry_suite.backbone import PIECES, backbone
from mergeometry_suite.command import FULL, load_full_expert, train_expert
from mergeometry_suite.full import FullRegime, full_folder, is_complete_full, train_full
from mergeometry_suite.loop import Course, products
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.splits import Splits
from mergeometry_suite.staging import read_provenance
from mergeometry_suite.tasks import Task, load

ONCE = FullRegime(epochs=1, batch=16)


def few(task: str | Task) -> Splits:
    splits = load(task)
    return Splits(splits.train.take(32), splits.validation.take(40), splits.test.take(40))


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "load", few)
        yield train_expert("trec", tmp_path_factory.mktemp("full") / "trec", form=FULL, regime=ONCE)


@pytest.mark.suite
def test_every_weight_that_is_run_moves_and_no_other(expert: Path) -> None:
    base, tuned = load_file(backbone() / "model.safetensors"), load_file(expert / "model.safetensors")
    assert {name: (weight.shape, weight.dtype) for name, weight in base.items()} == {
        name: (weight.shape, weight.dtype) for name, weight in tuned.items()
    }
    still = {name for name, weight in base.items() if torch.equal(weight, tuned[name])}
    assert {"embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight"} <= still
    # A key's bias adds the same to all scores of a query, so nothing depends on it but rounding.
    assert all("position_ids" in name or "pooler" in name or name.endswith("key.bias") for name in still)


@pytest.mark.suite
def test_only_words_that_were_read_move(expert: Path) -> None:
    name = "embeddings.word_embeddings.weight"
    change = load_file(expert / "model.safetensors")[name] - load_file(backbone() / "model.safetensors")[name]
    read = {piece for text in Tokenizer(backbone(), PIECES).pieces(few("trec").train.texts) for piece in text}
    assert set(change.abs().sum(1).nonzero().flatten().tolist()) == read


@pytest.mark.suite
def test_the_record_says_what_was_trained(expert: Path) -> None:
    found = load_full_expert("trec", expert)
    assert found.provenance["command"] == "mergeometry suite train --full trec"
    assert found.provenance["regime"]["learning_rate"] == 3e-4
    assert "rank" not in found.provenance["regime"]
    texts = few("trec").test
    features = Encoder(expert).encode(Tokenizer(expert, PIECES).prepare(texts.texts))
    right = (found.head.logits(features).argmax(1) == torch.tensor(texts.labels)).float().mean().item()
    assert right == pytest.approx(found.provenance["accuracy"]["expert"]["test"], abs=1e-4)


@pytest.mark.suite
def test_the_folder_merges_and_gives_itself_back(expert: Path, tmp_path: Path) -> None:
    recipe = {"base": str(backbone()), "models": [str(expert)], "method": "task_arithmetic", "scale": 1.0}
    mg.merge(recipe, output=tmp_path / "merged")
    merged, tuned = load_file(tmp_path / "merged" / "model.safetensors"), load_file(expert / "model.safetensors")
    assert all(torch.allclose(merged[name].float(), tuned[name].float(), atol=1e-6) for name in tuned)


@pytest.mark.suite
def test_another_seed_is_another_expert(expert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load", few)
    other = train_expert("trec", tmp_path / "trec", form=FULL, regime=replace(ONCE, seed=1))
    assert read_provenance(other)["command"] == "mergeometry suite train --full trec --seed 1"
    assert read_provenance(other)["regime"]["seed"] == 1
    first, second = (load_file(folder / "model.safetensors") for folder in (expert, other))
    assert any(not torch.equal(weight, second[name]) for name, weight in first.items())
    heads = [load_file(folder / "head.safetensors") for folder in (expert, other)]
    assert torch.equal(heads[0]["weight"], heads[1]["weight"])


@pytest.mark.suite
def test_a_finished_expert_is_left_alone_and_a_half_one_is_refused(expert: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    train_expert("trec", expert, messages.append, form=FULL)
    assert messages == ["trec: already trained"]
    (tmp_path / "config.json").write_text("{}")
    assert not is_complete_full(tmp_path)
    with pytest.raises(OutputError, match="not an expert"):
        train_expert("trec", tmp_path, form=FULL)


@pytest.mark.suite
def test_a_run_that_is_cut_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", few)
    with pytest.raises(KeyboardInterrupt):
        train_expert("trec", tmp_path / "trec", form=replace(FULL, save=cut_off), regime=replace(ONCE, batch=32))
    assert not list(tmp_path.iterdir())


@pytest.mark.suite
def test_the_loss_falls_and_the_best_epoch_is_kept() -> None:
    splits = few("movie")
    head = Head(torch.randn(2, 384, generator=torch.Generator().manual_seed(0)) / 10, torch.zeros(2))
    trained = train_full(backbone(), head, splits, replace(ONCE, epochs=2))
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    assert trained.best.validation == max(epoch.validation for epoch in trained.epochs)


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_alone_are_in_the_precision_asked_for(precision: str, expected: torch.dtype) -> None:
    matrix = torch.eye(4)
    with products(replace(ONCE, precision=precision)):
        assert (matrix @ matrix).dtype == expected
        assert (matrix + matrix).dtype == torch.float32
    assert (matrix @ matrix).dtype == torch.float32


def test_a_regime_too_fast_says_so() -> None:
    head = Head(torch.full((2, 384), torch.inf), torch.zeros(2))
    with pytest.raises(DataError, match="no longer finite"):
        train_full(backbone(), head, few("movie"), ONCE)


def test_the_default_place_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    assert full_folder().is_relative_to(tmp_path)
    with pytest.raises(DataError, match="no full fine-tune of 'trec'") as caught:
        load_full_expert("trec")
    assert str(caught.value).endswith("mergeometry suite train --full trec")
    with pytest.raises(DataError, match=r"mergeometry suite train --full trec --seed 2$"):
        load_full_expert("trec", seed=2)
    assert len({full_folder(), full_folder(1), full_folder(2)}) == 3


def test_the_command_trains_full_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Path, object, int]] = []

    def record(task: str, output: Path, _progress: object, *, form: object, regime: Course, overwrite: bool) -> Path:
        seen.append((task, output, form, regime.seed))
        return output

    monkeypatch.setattr(command, "train_expert", record)
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    assert CliRunner().invoke(app, ["suite", "train", "--full", "trec"]).exit_code == 0
    assert CliRunner().invoke(app, ["suite", "train", "--full", "--seed", "2", "trec"]).exit_code == 0
    assert CliRunner().invoke(app, ["suite", "train", "trec", "-o", str(tmp_path)]).exit_code == 0
    assert seen == [
        ("trec", full_folder() / "trec", FULL, 0),
        ("trec", full_folder(2) / "trec", FULL, 2),
        ("trec", tmp_path / "trec", command.ADAPTER, 0),
    ]
