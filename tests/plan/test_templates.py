"""A chat template given by its text, or the one that most models have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import RecipeError
from tests.helpers.models import write_family
from tests.helpers.vocabularies import write_tokenizer

TEXT = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    given = write_family(tmp_path, adapters=1)
    for place, template in (("base", None), ("task0", "{{ rare }}"), ("task1", "{{ common }}"), ("task2", None)):
        write_tokenizer(tmp_path / place, template=template)
    (tmp_path / "task2" / "chat_template.jinja").write_text("{{ common }}\n")
    return {**given, "method": "average"}


def test_the_template_that_most_models_have(inputs: dict[str, Any], tmp_path: Path) -> None:
    mg.merge(mg.load_recipe({**inputs, "chat_template": "auto"}), tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "tokenizer_config.json").read_text())["chat_template"] == "{{ common }}"
    record = json.loads((tmp_path / "merged" / "mergeometry.json").read_text())
    assert record["recipe"]["chat_template"] == "task1"


def test_a_template_by_its_text(inputs: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "base" / "chat_template.jinja").write_text("{{ base }}")
    mg.merge(mg.load_recipe({**inputs, "chat_template": TEXT}), tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "tokenizer_config.json").read_text())["chat_template"] == TEXT
    assert not (tmp_path / "merged" / "chat_template.jinja").exists()
    (tmp_path / "base" / "tokenizer_config.json").unlink()
    mg.merge(mg.load_recipe({**inputs, "chat_template": TEXT}), tmp_path / "bare")
    assert (tmp_path / "bare" / "chat_template.jinja").read_text() == TEXT
    with pytest.raises(RecipeError, match="chat_template: no model is named 'chatml'"):
        mg.load_recipe({**inputs, "chat_template": "chatml"})
