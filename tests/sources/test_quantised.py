"""Quantised weights, entry by entry against a slow reading of each format's specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import SourceError
from mergeometry.sources import TensorReader, open_checkpoint
from tests.helpers.models import write_adapter, write_model
from tests.helpers.quantised import CASES, IN, OUT, bnb_4bit, gptq, stored


@pytest.mark.parametrize("name", CASES)
def test_every_entry_is_what_the_format_says(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]()
    model = open_checkpoint(stored(tmp_path, case, **{"norm.weight": torch.ones(3)}), "model", dequantise=True)
    assert list(model.tensors) == ["layer.weight", "norm.weight"]
    info, weight = model.tensors["layer.weight"], case[2]
    assert (info.shape, info.code) == (tuple(weight.shape), "F32")
    assert "1 weights de-quantised from" in model.dequantised
    end = info.elements
    with TensorReader() as reader:
        torch.testing.assert_close(reader.read(info), weight, rtol=2e-7, atol=0)
        for piece in (1 << 22, 50):
            monkeypatch.setattr("mergeometry.sources.formed._PIECE", piece)
            for first, last in ((0, 0), (0, 1), (5, 133), (31, 33), (100, end), (end - 1, end)):
                part = reader.read_range(info, first, last)
                torch.testing.assert_close(part, weight.flatten()[first:last], rtol=2e-7, atol=0)


def test_a_recipe_has_to_say_so_and_the_output_is_plain(tmp_path: Path) -> None:
    """A base of 4 bits with an adapter that was trained on it, and the same base in full precision."""
    case = bnb_4bit(nested=True)
    base = stored(tmp_path / "base", case)
    lora = write_adapter(tmp_path / "lora", {"layer": (torch.ones(2, IN), torch.ones(OUT, 2))}, alpha=2.0)
    keys: Any = {"base": base, "models": [lora], "method": "task_arithmetic"}
    with pytest.raises(SourceError, match="the model is quantised") as caught:
        mg.merge(output=tmp_path / "out", **keys)
    assert "dequantise" in str(caught.value.hint)
    record = mg.merge(output=tmp_path / "out", dequantise=True, workers=1, **keys)
    plain = write_model(tmp_path / "plain", {"layer.weight": case[2]}, {"model_type": "toy", "dtype": "float32"})
    from safetensors.torch import load_file

    merged = load_file(tmp_path / "out" / "model.safetensors")
    mg.merge(output=tmp_path / "expected", workers=1, **{**keys, "base": plain})
    expected = load_file(tmp_path / "expected" / "model.safetensors")
    torch.testing.assert_close(merged, expected, rtol=1e-6, atol=1e-6)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert "base: 1 weights de-quantised from bitsandbytes" in record.warnings
    assert any("quantization_config removed" in note for note in record.sidecars.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bits": 3}, "GPTQ of 3 bits"),
        ({"bits": 2}, "do not fit each other"),
    ],
)
def test_a_variant_that_is_not_known_is_refused_by_name(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    tensors, settings, weight = gptq(4, "gptq")
    with pytest.raises(SourceError, match=says):
        open_checkpoint(stored(tmp_path, (tensors, {**settings, **change}, weight)), "model", dequantise=True)


def test_what_no_row_knows_stays_refused(tmp_path: Path) -> None:
    tensors = {
        "layer.W_q": torch.zeros(4, dtype=torch.uint8),
        "layer.scale": torch.ones(4),
        "layer.zero": torch.ones(4),
    }
    with pytest.raises(SourceError, match="HQQ"):
        open_checkpoint(stored(tmp_path, (tensors, {"quant_method": "hqq"}, torch.ones(1))), "model", dequantise=True)
