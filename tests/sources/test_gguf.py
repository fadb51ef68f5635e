"""GGUF files, written by the format's library, against what transformers makes of the same file."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.errors import SourceError
from mergeometry.sources import TensorReader, open_checkpoint
from tests.helpers.gguf_files import HEADS, HIDDEN, INNER, LAYERS, PAIRS, SHAPES, VOCABULARY, write_gguf

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K", "Q6_K", "F16"])
def test_every_tensor_is_what_the_library_gives_under_transformers_names(tmp_path: Path, kind: str) -> None:
    path = write_gguf(tmp_path / "model.gguf", kind)
    model = open_checkpoint(path, "model", dequantise=True)
    assert model.tensors.keys() >= {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"}
    assert kind in model.dequantised and len(model.tensors) == len(SHAPES)
    expected = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in gguf.GGUFReader(path).tensors
    }
    with TensorReader() as reader:
        for name, own in (
            ("mlp.down_proj", "ffn_down"),
            ("self_attn.v_proj", "attn_v"),
            ("input_layernorm", "attn_norm"),
        ):
            info = model.tensors[f"model.layers.0.{name}.weight"]
            whole = expected[f"blk.0.{own}.weight"].reshape(info.shape)
            assert torch.equal(reader.read(info), whole)
            assert torch.equal(reader.read_range(info, 77, 200), whole.flatten()[77:200])


@pytest.mark.suite
@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_the_same_weights(tmp_path: Path) -> None:
    """Its own reading of the file tells how the rows of queries and keys lie."""
    transformers = pytest.importorskip("transformers")
    path = write_gguf(tmp_path / "model.gguf", "Q8_0")
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=PAIRS, tie_word_embeddings=False,
    )  # fmt: skip
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    loaded: Any = load_gguf_checkpoint(
        str(path), return_tensors=True, model_to_load=transformers.LlamaForCausalLM(config)
    )
    model = open_checkpoint(path, "model", dequantise=True)
    with TensorReader() as reader:
        for name, info in model.tensors.items():
            torch.testing.assert_close(reader.read(info), loaded["tensors"][name].float(), rtol=0, atol=0)


def test_a_gguf_file_is_a_model_of_a_base_in_safetensors(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tuned.gguf", "Q8_0")
    from tests.helpers.models import write_model

    model = open_checkpoint(path, "model", dequantise=True)
    with TensorReader() as reader:
        base = {name: reader.read(info) + 1 for name, info in model.tensors.items()}
        expected = {name: tensor - 1 for name, tensor in base.items()}
    write_model(tmp_path / "base", base, {"model_type": "llama", "tie_word_embeddings": False})
    keys: Any = {"base": tmp_path / "base", "models": [path], "method": "task_arithmetic"}
    with pytest.raises(SourceError, match="a GGUF file holds quantised weights"):
        mg.make_plan(**keys)
    mg.merge(output=tmp_path / "out", dequantise=True, workers=1, **keys)
    from safetensors.torch import load_file

    torch.testing.assert_close(load_file(tmp_path / "out" / "model.safetensors"), expected, rtol=1e-5, atol=1e-5)


def test_what_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the names of GGUF files of 'gemma2' are not known"):
        open_checkpoint(write_gguf(tmp_path / "g.gguf", "F16", "gemma2"), "model", dequantise=True)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    with pytest.raises(SourceError, match="malformed"):
        open_checkpoint(tmp_path / "broken.gguf", "model", dequantise=True)


def test_damaged_files_are_one_clear_error(tmp_path: Path) -> None:
    raw = write_gguf(tmp_path / "model.gguf", "Q8_0").read_bytes()
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(raw[: int(random.integers(8, len(raw)))] if random.random() < 0.3 else raw)
        for place in random.integers(4, min(len(damaged), 1500), 3):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        try:
            open_checkpoint(tmp_path / "damaged.gguf", "model", dequantise=True)
        except SourceError as error:
            assert error.model == "model"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(given: list[bytes], listed: list[bytes], **counts: int) -> bytes:
    number = struct.pack("<IQQ", 3, counts.get("tensors", len(listed)), counts.get("settings", len(given)))
    whole = b"GGUF" + number + b"".join(given) + b"".join(listed)
    return whole + bytes(-len(whole) % 32)


def tensor(name: str, start: int, *sides: int, kind: int = 0, dimensions: int | None = None) -> bytes:
    count = len(sides) if dimensions is None else dimensions
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", count, *sides, kind, start)


LLAMA = [
    text("general.architecture") + struct.pack("<I", 8) + text("llama"),
    text("llama.attention.head_count") + struct.pack("<II", 4, 2),
    text("llama.attention.head_count_kv") + struct.pack("<II", 4, 2),
]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header([], [], tensors=2**60), "claims 1,152,921,504,606,846,976 tensors"),
        (header([], [], settings=2**60), "claims 1,152,921,504,606,846,976 settings"),
        (header([text("a") + struct.pack("<IIQ", 9, 0, 2**60)], []), "more than the file has left"),
        (header([text("a") + struct.pack("<IIQ", 9, 8, 2**60)], []), "texts"),
        (header([text("a") + struct.pack("<IIQ", 9, 9, 1)], []), "type 9, which is not read"),
        (header([text("a") + struct.pack("<I", 99)], []), "type 99, which is not read"),
        (header([text("a") + struct.pack("<IQ", 8, 2**63)], []), "claims 9,223,372,036,854,775,808 bytes"),
        (header([struct.pack("<Q", 2**64 - 1)], []), "a name or text claims"),
        (header([LLAMA[0]] * 2, []), "is given twice"),
        (header([text("general.alignment") + struct.pack("<II", 4, 0)], []), "power of two"),
        (header([text("general.alignment") + struct.pack("<II", 4, 33)], []), "power of two"),
        (header(LLAMA, [tensor("output.weight", 0, 2**62, 2**62)]) + bytes(64), "it is truncated"),
        (header(LLAMA, [tensor("output.weight", 2**63, 4, 4)]) + bytes(64), "it is truncated"),
        (header(LLAMA, [tensor("output.weight", 0, 4, 4, kind=99)]) + bytes(64), "type 99 is unknown"),
        (header(LLAMA, [tensor("output.weight", 0, 4, 4, kind=8)]) + bytes(64), "no multiple"),
        (header(LLAMA, [tensor("output.weight", 0, dimensions=2**31)]), "dimensions"),
        (header(LLAMA, [tensor("output.weight", 0, 4, 4)] * 2) + bytes(64), "given twice"),
        (header(LLAMA, [tensor("output.weight", 0, 4, 4), tensor("a.b", 32, 4, 4)]) + bytes(96), "overlaps"),
        (header(LLAMA, [tensor("output.weight", 64, 4, 4)]) + bytes(128), "hole of 64 bytes"),
        (header(LLAMA, [tensor("output.weight", 0, 4, 4)]) + bytes(128), "after its last tensor"),
        (header(LLAMA, [tensor("name", 0, 4, 4)]) + bytes(64), "name of the tensor is not known"),
        (header(LLAMA, [tensor("blk.0.attn_q.weight", 0, 4, 3)]) + bytes(48), "are not 2 heads"),
        (header([*LLAMA[:2], text("split.count") + struct.pack("<IH", 2, 3)], []), "one part of several"),
        (header(LLAMA[:2], []), "head_count_kv must be a number of heads"),
    ],
)
def test_a_hostile_header_is_refused_by_name_at_once(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "hostile.gguf").write_bytes(content)
    started = time.process_time()
    with pytest.raises(SourceError, match=words) as refused:
        open_checkpoint(tmp_path / "hostile.gguf", "model", dequantise=True)
    assert time.process_time() - started < 0.5
    assert refused.value.file == str(tmp_path / "hostile.gguf")
