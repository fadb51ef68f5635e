"""Habits: each trains into a folder of its own, by the command that its record and its errors name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.encoders.heads import Head
from mergeometry.errors import DataError
from mergeometry_suite import command, habits
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import FULL
from mergeometry_suite.comparison import write_suite
from mergeometry_suite.forms import Form
from mergeometry_suite.full import FullRegime, full_folder
from mergeometry_suite.habits import HABITS, habit_folder, habit_form, load_habit_expert
from mergeometry_suite.loop import Course
from mergeometry_suite.minilm import build_model
from mergeometry_suite.staging import write_provenance
from mergeometry_suite.train import Regime, build_adapter


def test_each_habit_and_seed_has_a_folder_of_its_own() -> None:
    folders = {habit_folder(name, seed) for name in HABITS for seed in (0, 1)}
    assert len(folders) == 2 * len(HABITS)
    assert habit_folder("plain", 1) == full_folder(1)
    assert habit_form("plain") is FULL


def test_the_command_trains_by_the_habit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Path, str, Course]] = []

    def record(task: str, output: Path, _progress: object, *, form: Form, regime: Course, overwrite: bool) -> Path:
        seen.append((output, form.command, regime))
        return output

    monkeypatch.setattr(command, "train_expert", record)
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    asked = ["suite", "train", "--full", "--habit", "weight-decay", "--seed", "1", "trec"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    where = habit_folder("weight-decay", 1) / "trec"
    assert seen == [
        (where, "mergeometry suite train --full --habit weight-decay", FullRegime(weight_decay=0.01, seed=1))
    ]
    for wrong in (["--full", "--habit", "weight-decai", "trec"], ["--habit", "weight-decay", "trec"]):
        refused = CliRunner().invoke(app, ["suite", "train", *wrong])
        assert refused.exit_code != 0
    assert len(seen) == 1


def test_what_is_missing_or_unknown_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"mergeometry suite train --full --habit bfloat16 trec --seed 2$"):
        load_habit_expert("trec", "bfloat16", seed=2)
    with pytest.raises(DataError, match="did you mean 'weight-decay'"):
        habit_form("weight-decai")
    for suite, full in (("text-8", False), ("vision", True)):
        with pytest.raises(DataError, match="of full fine-tunes of texts"):
            write_suite(suite, tmp_path / "suite", full=full, habit="weight-decay")


@pytest.mark.suite
def test_a_habit_of_16_bits_saves_them(tmp_path: Path) -> None:
    model, head = build_model(backbone()), Head(torch.zeros(2, 384), torch.zeros(2))
    habit_form("bfloat16").save(model, backbone(), head, tmp_path)
    saved, base = load_file(tmp_path / "model.safetensors"), load_file(backbone() / "model.safetensors")
    assert saved.keys() == base.keys()
    for name, weight in base.items():
        assert torch.equal(saved[name], weight.to(torch.bfloat16) if weight.is_floating_point() else weight)


@pytest.mark.suite
def test_the_suite_of_a_habit_of_16_bits_can_be_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "cache_folder", lambda: tmp_path)
    place = habit_folder("bfloat16") / "trec"
    place.mkdir(parents=True)
    model, head = build_model(backbone()), Head(torch.zeros(6, 384), torch.zeros(6))
    habit_form("bfloat16").save(model, backbone(), head, place)
    write_provenance(place, {"task": "trec"})
    suite = write_suite("text-8", tmp_path / "suite", only=["trec"], full=True, habit="bfloat16", limit=2)
    mg.merge(suite / "recipe.yaml", tmp_path / "merged", workers=1)
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert {weight.dtype for weight in merged.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.suite
def test_a_folded_adapter_computes_what_the_adapter_does(tmp_path: Path) -> None:
    adapted, head = build_adapter(backbone(), Regime()), Head(torch.zeros(2, 384), torch.zeros(2))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    habit_form("folded").save(adapted, backbone(), head, tmp_path)
    texts = {"input_ids": torch.tensor([[101, 7592, 2088, 102]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.no_grad():
        wanted, found, base = (
            model.eval()(**texts).last_hidden_state
            for model in (adapted, build_model(tmp_path), build_model(backbone()))
        )
    assert float((found - wanted).norm() / (wanted - base).norm()) < 1e-3
