"""The base that a model's own files name, and which of them is believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergeometry.errors import SourceError
from mergeometry.sources.named_base import Named, named_base


def card(folder: Path, front: str) -> None:
    (folder / "README.md").write_text(f"---\n{front}\n---\n\n# A model\n\nbase_model: not/this-one\n")


def test_the_most_reliable_file_is_believed(tmp_path: Path) -> None:
    assert named_base(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": "from/config"}))
    assert named_base(tmp_path) == Named("from/config", "config.json")
    card(tmp_path, "base_model: from/card")
    assert named_base(tmp_path) == Named("from/card", "README.md")
    settings = {"base_model_name_or_path": "from/adapter", "revision": "v2"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert named_base(tmp_path) == Named("from/adapter", "adapter_config.json", "v2")


@pytest.mark.parametrize(
    ("front", "name"),
    [
        ("license: mit\nbase_model: a/b\ntags: [x]", "a/b"),
        ("base_model:\n- a/b\nlicense: mit", "a/b"),
        ("base_model:\n  - 'a/b'", "a/b"),
        ("base_model: ['a/b']", "a/b"),
        ('base_model: "a/b"\ndate: 2026-01-01', "a/b"),
        ("base_model:\n- a/b\n- a/c", None),  # the card of a merge
        ("base_model: [a/b, a/c]", None),
        ("base_model:\nlicense: mit", None),
        ("base_model_relation: finetune", None),
        ("title: x", None),
    ],
)
def test_cards(tmp_path: Path, front: str, name: str | None) -> None:
    card(tmp_path, front)
    assert named_base(tmp_path) == (name and Named(name, "README.md"))


def test_a_card_without_front_matter_names_nothing_and_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A model\nbase_model: a/b\n")
    assert named_base(tmp_path) is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SourceError, match="not valid JSON"):
        named_base(tmp_path)
