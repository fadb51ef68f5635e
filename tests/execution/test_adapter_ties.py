"""Adapters that form updates of a tied table: both halves change where they do in the live model, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, SourceError
from mergeometry.sources import open_adapter
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
        (lambda: lora("q_proj", "embed_tokens", ensure_weight_tying=True), False),
        (lambda: lora("q_proj", modules_to_save=["embed_tokens"], ensure_weight_tying=True), True),
    ],
    ids=["tokens", "dora of the table", "dora of the output", "both by factors", "both whole"],
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


def test_half_of_an_adapter_of_both_halves_is_refused(tmp_path: Path) -> None:
    model = tiny_llama(tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(model, tmp_path / "a", lora("embed_tokens", ensure_weight_tying=True))
    weights = adapter / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    safetensors.torch.save_file({name: one for name, one in tensors.items() if "lm_head" not in name}, weights)
    with pytest.raises(MismatchError) as refused:
        mg.make_plan(base=tmp_path / "base", models=[adapter], method="average")
    assert "ensure_weight_tying" in refused.value.mismatches[0] and "embed_tokens" in refused.value.mismatches[0]


def test_a_convolution_with_groups_is_refused_with_the_reason(tmp_path: Path) -> None:
    class Grouped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv1d(8, 8, 3, groups=2)

    saved_adapter(Grouped(), tmp_path / "a", peft.LoraConfig(r=4, target_modules=["conv"]))
    with pytest.raises(SourceError, match="a convolution of 2 groups"):
        open_adapter(tmp_path / "a", "a")
