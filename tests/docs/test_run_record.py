"""The page on the run record names every field that a record has, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.sink import InputRecord, MethodRecord, RunRecord, SidecarRecord, TensorRecord, Totals
from tests.helpers.models import random_tensors, tuned, write_model

PAGE = (Path(__file__).parents[2] / "docs" / "run-record.md").read_text("utf-8")


def listed(section: str) -> set[str]:
    """The fields in a section's table."""
    text = re.split(r"^#+ ", PAGE.partition(f"# {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Fields", RunRecord), ("inputs", InputRecord), ("methods, refinements", MethodRecord),
        ("tensors", TensorRecord), ("totals", Totals), ("sidecars", SidecarRecord),
    ],
)  # fmt: skip
def test_the_fields_of_a_record(section: str, kind: Any) -> None:
    assert listed(section) == {field.name for field in fields(kind)}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A record of a run that decided as much as one run can: a prefix, tied tables, a head, a file of its own."""
    folder = tmp_path_factory.mktemp("record")
    base = random_tensors(0)
    write_model(folder / "base", base, {"model_type": "bert", "tie_word_embeddings": True})
    first = {f"bert.{name}": tensor for name, tensor in tuned(base, 1).items()}
    write_model(folder / "first", {**first, **random_tensors(1, shapes={"classifier.weight": (2, 6)})})
    run = mg.merge(base=folder / "base", models=[folder / "first"], method="ties", heads=["classifier.*"],
                   output=folder / "out")  # fmt: skip
    return run.to_json()


def test_what_a_record_says_of_files_time_and_choices(record: dict[str, Any]) -> None:
    assert {key for entry in record["contents"].values() for key in entry} == listed("contents")
    assert set(record["timings"]) == listed("timings")
    assert set(record["timings"]["stages"]) == {"plan", "prepare", "merge", "metadata"}
    for name, stage in record["timings"]["stages"].items():
        assert set(stage) == {"seconds", "processor_seconds"} and f"`{name}`" in PAGE
    assert set(record["decisions"]) | {"directions", "ties", "tokens"} == listed("decisions")
    for decision in ("workers", "files"):
        assert all(f"`{key}`" in PAGE for key in record["decisions"][decision])
    names = record["decisions"]["names"]["first"]
    assert names["prefix"] == {"model": "bert.", "base": ""}
    assert names["heads"] == ["classifier.weight"]
    assert all(f"`{key}`" in PAGE for key in names)


def test_every_file_but_the_record_has_a_digest(record: dict[str, Any]) -> None:
    assert set(record["contents"]) == set(record["files"]) - {"mergeometry.json"}
