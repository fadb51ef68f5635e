"""Names of tensors on disk lead to the parameters that hold them, whatever the base was saved with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mergeometry.encoders.causal import CausalEncoder
from mergeometry.errors import MismatchError
from mergeometry.sources import open_checkpoint
from tests.helpers.encoder_models import (
    CAUSAL,
    CLOSE,
    CPU,
    MODELS,
    SEQ2SEQ,
    SIZES,
    SPECIAL,
    TEXT,
    VISION,
    encoder_of,
    made,
    on_disk,
    ready,
    reference,
    run,
    save_processor,
    texts,
)
from tests.helpers.learning_models import save_tokenizer


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_names_lead_to_the_parameter_that_holds_the_tensor(name: str, folders: Any) -> None:
    encoder, disk = encoder_of(folders(name)), on_disk(folders(name))
    assert set(encoder.names) == set(disk)
    for stored, own in encoder.names.items():
        if own is not None:
            assert torch.equal(encoder.base(own), disk[stored]), stored


@pytest.mark.parametrize(
    ("name", "headed", "prefix"),
    [("bert", "BertForMaskedLM", "bert."), ("bert", "BertForSequenceClassification", "bert."),
     ("vit", "ViTForImageClassification", "vit."), ("dinov2", "Dinov2ForImageClassification", "dinov2.")],
)  # fmt: skip
def test_a_base_saved_with_a_head(name: str, headed: str, prefix: str, images: Any, tmp_path: Path) -> None:
    import transformers

    _, config, settings = MODELS[name]
    model = getattr(transformers, headed)(getattr(transformers, config)(**settings)).eval()
    model.save_pretrained(tmp_path)
    (save_processor if name in VISION else save_tokenizer)(tmp_path)
    encoder = encoder_of(tmp_path)
    disk = on_disk(tmp_path)
    for stored, own in encoder.names.items():
        assert own is None or (stored.startswith(prefix) and torch.equal(encoder.base(own), disk[stored]))
        used = stored.startswith(prefix) and "pooler" not in stored and "mask_token" not in stored
        assert (own is not None) == used, stored
    inputs = ready(encoder, images)
    inner = getattr(model, prefix[:-1])
    torch.testing.assert_close(
        run(encoder, inputs), reference(inner, encoder, inputs, "first" if name in VISION else "mean"), **CLOSE
    )
    if headed in ("BertForMaskedLM", "ViTForImageClassification"):  # which save no pooler
        with pytest.raises(MismatchError, match="not those that transformers runs") as caught:
            encoder_of(tmp_path, "pooler")
        assert any("pooler.dense.weight" in problem for problem in caught.value.mismatches)


@pytest.mark.parametrize(
    ("name", "bare", "prefix"), [("llama", "model", "model."), ("gpt2", "transformer", "transformer.")]
)
def test_a_language_model_saved_without_its_head(name: str, bare: str, prefix: str, tmp_path: Path) -> None:
    """Names without the prefix, and an output layer only where it is the embedding."""
    model = made(name, tie_word_embeddings=True)
    getattr(model, bare).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = CausalEncoder(tmp_path, open_checkpoint(tmp_path, "base").tensors, max_length=32, device=CPU)
    assert encoder.names and all(own == prefix + stored for stored, own in encoder.names.items())
    inputs = encoder.prepare(texts())
    torch.testing.assert_close(run(encoder, inputs), reference(model, encoder, inputs), **CLOSE)


def test_tensors_of_another_shape_or_model_are_named(folders: Any, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in on_disk(folders("bert")).items() if "layer.1.output" not in name}
    made("bert").save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MismatchError) as caught:
        encoder_of(tmp_path)
    missing = {"dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias"}
    assert len(caught.value.mismatches) == 4
    assert all(any(f"encoder.layer.1.output.{name}" in one for one in caught.value.mismatches) for name in missing)


def test_a_tensor_stored_under_both_of_its_names_counts_once(tmp_path: Path) -> None:
    model = made("gpt2")
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    disk = on_disk(tmp_path)
    safetensors.torch.save_file(
        {**disk, "lm_head.weight": disk["transformer.wte.weight"].clone()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    encoder = encoder_of(tmp_path)
    assert encoder.names["transformer.wte.weight"] == "transformer.wte.weight" == encoder.tied
    assert encoder.names["lm_head.weight"] is None and encoder.output_name is None


def test_tensors_that_loading_puts_together_are_refused(tmp_path: Path) -> None:
    """transformers stacks the experts of a mixture while it loads them: nothing learned could be written back."""
    import transformers

    config = transformers.MixtralConfig(
        **{**SIZES, "vocab_size": 40, "num_key_value_heads": 1, "num_local_experts": 2, **SPECIAL}
    )
    transformers.MixtralForCausalLM(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(MismatchError) as caught:
        encoder_of(tmp_path)
    assert caught.value.mismatches and all("experts" in problem for problem in caught.value.mismatches)
