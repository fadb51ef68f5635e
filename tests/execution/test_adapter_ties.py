"""Adapters that form updates of a tied table: both halves change where they do in the live model, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.peft_models import live, merged, outputs, saved_adapter, tiny_llama

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")


def lora(*targets: str, **changes: Any) -> Any:
    return peft.LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": list(targets), **changes})


@pytest.mark.parametrize(
    ("config", "tied"),
    [
        (lambda: lora("q_proj", trainable_token_indices=[4, 1]), True),
        (lambda: lora("q_proj", "embed_tokens", use_dora=True), False),
        (lambda: lora("q_proj", "lm_head", use_dora=True), False),
    ],
    ids=["tokens", "dora of the table", "dora of the output"],
)
def test_a_tied_table_is_changed_as_in_the_live_model(config: Any, tied: bool, tmp_path: Path) -> None:
    model = tiny_llama(tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(model, tmp_path / "a", config())
    one = merged(tmp_path / "base", [adapter], tmp_path / "one")
    assert one.config.tie_word_embeddings is tied
    torch.testing.assert_close(outputs(one), outputs(live(model, adapter)), rtol=1e-4, atol=1e-5)


def test_rows_of_a_tied_table_change_both_halves_where_another_model_parts_them(tmp_path: Path) -> None:
    model = tiny_llama(tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "base")
    rows = saved_adapter(model, tmp_path / "a", lora("q_proj", trainable_token_indices=[4, 1]))
    table = saved_adapter(model, tmp_path / "b", lora("embed_tokens"))
    both = merged(tmp_path / "base", [rows, table], tmp_path / "both", method="task_arithmetic")
    base = model.get_output_embeddings().weight
    changed = live(model, rows).merge_and_unload().get_output_embeddings().weight
    torch.testing.assert_close(both.lm_head.weight, changed)
    assert not torch.equal(changed, base) and not torch.equal(both.get_input_embeddings().weight, changed)
