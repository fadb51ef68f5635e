"""The experts that ship: all there, small, in PEFT's format, and as good as their records say."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mergeometry.cli.app import app
from mergeometry.encoders.heads import accuracy
from mergeometry.errors import DataError
from mergeometry_suite.backbone import NAME, PIECES, backbone
from mergeometry_suite.command import load_expert, score_texts
from mergeometry_suite.experts import SHIPPED, load_adapter
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import TASKS, TEXT_14, TEXT_20, load
from mergeometry_suite.train import adapter_folder
from mergeometry_suite.vision.tasks import VISION_TASKS

every_task = pytest.mark.parametrize("name", TEXT_14)


@every_task
def test_an_expert_is_a_small_adapter_with_head_and_record(name: str) -> None:
    from safetensors.torch import load_file

    expert = load_expert(name)
    config = json.loads((expert.folder / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["peft_type"], config["base_model_name_or_path"]) == (16, "LORA", NAME)
    assert expert.head.weight.shape == (len(expert.task.classes), 384)
    assert expert.provenance["data"]["classes"] == list(expert.task.classes)
    assert expert.provenance["data"]["sha256"] == expert.task.package.sha256
    weights = load_file(expert.folder / "adapter_model.safetensors")
    assert len(weights) == 72
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(bool(weight.isfinite().all()) for weight in weights.values())
    assert sum(path.stat().st_size for path in expert.folder.iterdir()) < 2 * 2**20


@every_task
def test_an_expert_is_better_than_the_base(name: str) -> None:
    scores = load_expert(name).provenance["accuracy"]
    assert scores["expert"]["validation"] > scores["base"]["validation"]
    assert scores["expert"]["test"] > scores["base"]["test"]


@pytest.mark.suite
@pytest.mark.parametrize("name", ["trec"])
def test_an_expert_is_as_good_as_its_record_says(name: str) -> None:
    expert, splits = load_expert(name), load(name)
    scores = score_texts(load_adapter(backbone(), expert.folder), backbone(), expert.head, splits)
    for split, recorded in expert.provenance["accuracy"]["expert"].items():
        assert abs(scores[split] - recorded) <= 0.0041, split  # two texts: another processor rounds otherwise


def test_the_base_with_the_head_is_as_good_as_the_record_says() -> None:
    expert, test = load_expert("trec"), load("trec").test
    features = Encoder(backbone()).encode(Tokenizer(backbone(), PIECES).prepare(test.texts))
    recorded = expert.provenance["accuracy"]["base"]["test"]
    assert abs(accuracy(expert.head, features, test.labels) - recorded) <= 0.0021


def test_nothing_else_ships() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(TEXT_14)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 24 * 2**20


def test_the_list_names_the_suites_of_each_task() -> None:
    done = CliRunner().invoke(app, ["suite", "list", "--json"])
    assert done.exit_code == 0
    rows = {row["task"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [*TASKS, *VISION_TASKS]
    assert rows["trec"]["suites"] == ["text-8", "text-14", "text-20"]
    assert rows["sms"]["suites"] == ["text-14", "text-20"]
    assert rows["webster"]["suites"] == ["text-20"]
    assert rows["letter"]["suites"] == ["vision", "vision-6"] and rows["script"]["suites"] == ["vision"]
    assert all(row["expert"] > row["base"] for name, row in rows.items() if name not in TEXT_20[14:])
    assert "text-14" in CliRunner().invoke(app, ["suite", "list"], terminal_width=200).stdout


def test_an_expert_that_does_not_ship_is_trained_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"no trained expert of 'webster'[\s\S]*mergeometry suite train webster$"):
        load_expert("webster")
    rows = json.loads(CliRunner().invoke(app, ["suite", "list", "--json"]).stdout)
    assert next(row for row in rows if row["task"] == "webster")["expert"] is None
    shutil.copytree(SHIPPED / "trec", adapter_folder() / "webster")
    assert load_expert("webster").folder == adapter_folder() / "webster"
    assert load_expert("trec").folder == SHIPPED / "trec"
