"""Parsers of untrusted files, each as a function of bytes that may end in nothing but our own errors."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from mergeometry.errors import MergeometryError
from mergeometry.recipe import load_recipe
from mergeometry.sources import open_adapter, open_checkpoint, read_header

CASES = 1_000 if os.environ.get("CI") else 300
"""Files that each property of a parser is tried with."""

SHARD = "model-00001-of-00001.safetensors"


def _gguf() -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    settings = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.attention.head_count") + struct.pack("<II", 4, 2),
        text("llama.attention.head_count_kv") + struct.pack("<II", 4, 1),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 0, 1),
    ]
    shapes = {"output.weight": (0, 4, 3), "blk.0.attn_q.weight": (0, 4, 4), "blk.0.ffn_up.weight": (8, 32, 1)}
    tensors, data = b"", b""
    for name, (kind, columns, rows) in shapes.items():
        tensors += text(name) + struct.pack("<IQQIQ", 2, columns, rows, kind, len(data))
        data += bytes(-(-(columns * rows * 4 if kind == 0 else 34) // 32) * 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(settings)) + b"".join(settings) + tensors
    return header + bytes(-len(header) % 32) + data


SEEDS: dict[str, tuple[bytes, ...]] = {
    "header": (
        b"\4" + json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode(),
        b'\0{"__metadata__":{"format":"pt"},"e":{"dtype":"BOOL","shape":[0,3],"data_offsets":[0,0]}}',
    ),
    "index": (json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a": SHARD, "b": SHARD}}).encode(),),
    "adapter": (
        json.dumps(
            {
                "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"], "use_rslora": False,
                "rank_pattern": {"^a.*(query|key)$": 2}, "alpha_pattern": {}, "modules_to_save": None, "bias": "none",
            }
        ).encode(),
    ),
    "recipe": (
        b"base: b\nmodels: [a, {path: c, weight: 0.5, name: x}]\nmethod: {name: ties, density: 0.2}\nscale: auto\n",
        b"merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 0.5, 1]}\n",
        b"base: b\nmodels: [m]\nmethod: average\ntensors: [{match: 'a.*', scale: 1e-3}]\noutput: {dtype: float16}\n",
    ),
    "gguf": (_gguf(),),
}  # fmt: skip
"""Well-formed inputs to start from."""

WORDS: dict[str, tuple[str, ...]] = {
    "header": (
        '"dtype":',
        '"shape":',
        '"data_offsets":',
        '"__metadata__":',
        "F32",
        "BF16",
        "BOOL",
        "F8_E4M3",
        "\\u0061",
    ),
    "index": ('"weight_map":', SHARD, "../", "\\\\", ".bin", "C:", "\\u0000"),
    "adapter": (
        '"r":',
        '"rank_pattern":',
        '"lora_alpha":',
        "(a+)+$",
        "{150}",
        "NaN",
        "1e999",
        "LOHA",
        '"use_dora":true',
    ),
    "recipe": ("adapt:", "data:", "!!", "&a", "*a", "<<:", ".inf", "0x1F", "1e-3", "slices:", "heads:", "rescale"),
    "gguf": ("GGUF", "general.alignment", "split.count", "token_embd.weight", "blk.1.attn_k.weight", "qwen2"),
}
"""Words of each format, which a fuzzer puts together."""


def prepare(name: str, folder: Path) -> Callable[[bytes], bool]:
    """Return a function that reads bytes as the named file, and says whether they were accepted."""
    read = {"header": _header, "index": _index, "adapter": _adapter, "recipe": _recipe, "gguf": _gguf_file}[name](
        folder
    )

    def target(data: bytes) -> bool:
        try:
            read(data)
        except MergeometryError as error:
            assert str(error) and all(line.isprintable() for line in str(error).split("\n"))
            return False
        return True

    return target


def _header(folder: Path) -> Callable[[bytes], object]:
    path = folder / "x.safetensors"

    def read(data: bytes) -> object:
        size, header = (data[0] if data else 0), data[1:]
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
        return read_header(path)

    return read


def _index(folder: Path) -> Callable[[bytes], object]:
    safetensors.torch.save_file({"a": torch.ones(1), "b": torch.ones(1)}, folder / SHARD)

    def read(data: bytes) -> object:
        (folder / "model.safetensors.index.json").write_bytes(data)
        return open_checkpoint(folder, "m")

    return read


def _adapter(folder: Path) -> Callable[[bytes], object]:
    factors = {"lora_A": torch.ones(2, 5), "lora_B": torch.ones(3, 2)}
    tensors = {f"base_model.model.a.query.{name}.weight": value for name, value in factors.items()}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")

    def read(data: bytes) -> object:
        (folder / "adapter_config.json").write_bytes(data)
        return open_adapter(folder, "m")

    return read


def _recipe(folder: Path) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        (folder / "recipe.yaml").write_bytes(data)
        return load_recipe(folder / "recipe.yaml")

    return read


def _gguf_file(folder: Path) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        (folder / "x.gguf").write_bytes(data)
        return open_checkpoint(folder / "x.gguf", "m", dequantise=True)

    return read
