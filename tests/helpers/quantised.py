"""Small weights of every quantised format, each with the weight that its specification says they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.helpers.models import write_model

OUT, IN = 16, 32
Tensors = dict[str, Tensor]
Case = tuple[Tensors, dict[str, Any], Tensor]
"""What is stored, config.json's `quantization_config`, and the weight."""

GENERATOR = torch.Generator().manual_seed(0)


def integers(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=GENERATOR)


def scales(*shape: int) -> Tensor:
    return torch.rand(shape, generator=GENERATOR) * 0.1 + 0.01


def signed(words: list[int]) -> list[int]:
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


def fp8(scale_name: str, scale: Tensor, of: Callable[[int, int], float], settings: dict[str, Any]) -> Case:
    numbers = (torch.randn(OUT, IN, generator=GENERATOR) * 10).to(torch.float8_e4m3fn)
    weight = torch.tensor([[float(numbers[o, i]) * of(o, i) for i in range(IN)] for o in range(OUT)])
    return {"layer.weight": numbers, f"layer.{scale_name}": scale}, settings, weight


def fp8_blocks() -> Case:
    grid = scales(2, 3)
    settings = {"quant_method": "fp8", "weight_block_size": [10, 12]}
    return fp8("weight_scale_inv", grid, lambda o, i: float(grid[o // 10, i // 12]), settings)


def fp8_outputs() -> Case:
    column = scales(OUT, 1)
    return fp8("weight_scale", column, lambda o, i: float(column[o, 0]), {"quant_method": "compressed-tensors"})


def fp8_tensor() -> Case:
    one = scales(1)
    return fp8("weight_scale", one, lambda o, i: float(one), {"quant_method": "fbgemm_fp8"})


def int8_groups_with_zeros() -> Case:
    numbers, grid, zeros = integers(-128, 128, OUT, IN).to(torch.int8), scales(OUT, 4), integers(-9, 9, OUT, 4)
    weight = torch.tensor(
        [[(int(numbers[o, i]) - int(zeros[o, i // 8])) * float(grid[o, i // 8]) for i in range(IN)] for o in range(OUT)]
    )
    stored = {"layer.weight": numbers, "layer.weight_scale": grid, "layer.weight_zero_point": zeros.to(torch.int8)}
    return {**stored, "layer.input_scale": scales(1)}, {"quant_method": "compressed-tensors"}, weight


def bnb_8bit() -> Case:
    numbers, largest = integers(-127, 128, OUT, IN).to(torch.int8), scales(OUT)
    weight = torch.tensor([[int(numbers[o, i]) * float(largest[o]) / 127 for i in range(IN)] for o in range(OUT)])
    stored = {"layer.weight": numbers, "layer.SCB": largest, "layer.weight_format": torch.tensor(0, dtype=torch.uint8)}
    return stored, {"quant_method": "bitsandbytes", "load_in_8bit": True}, weight


def bnb_4bit(*, nested: bool) -> Case:
    numbers, table = integers(0, 16, OUT * IN).tolist(), torch.sort(torch.randn(16, generator=GENERATOR))[0]
    packed = torch.tensor([[numbers[n] << 4 | numbers[n + 1]] for n in range(0, OUT * IN, 2)], dtype=torch.uint8)
    blocks = OUT * IN // 64
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [OUT, IN]}
    stored = {"layer.weight": packed, "layer.weight.quant_map": table}
    largest = scales(blocks).tolist()
    if nested:
        bytes_, inner, outer = integers(0, 256, blocks), torch.randn(256, generator=GENERATOR), scales(-(-blocks // 4))
        state |= {"nested_blocksize": 4, "nested_offset": 0.25, "nested_dtype": "float32"}
        largest = [float(inner[int(bytes_[b])]) * float(outer[b // 4]) + 0.25 for b in range(blocks)]
        stored |= {"layer.weight.nested_absmax": outer, "layer.weight.nested_quant_map": inner}
        stored["layer.weight.absmax"] = bytes_.to(torch.uint8)
    else:
        stored["layer.weight.absmax"] = torch.tensor(largest)
    raw = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    stored["layer.weight.quant_state.bitsandbytes__nf4"] = raw
    weight = torch.tensor([float(table[q]) * largest[n // 64] for n, q in enumerate(numbers)]).reshape(OUT, IN)
    return stored, {"quant_method": "bitsandbytes", "load_in_4bit": True}, weight


def gptq(bits: int, version: str) -> Case:
    each, groups = 32 // bits, integers(0, 4, IN)
    numbers, zeros, grid = integers(0, 1 << bits, IN, OUT), integers(1, 1 << bits, 4, OUT), scales(4, OUT).half()
    low = 1 if version == "gptq" else 0
    words = [
        signed([sum(int(numbers[w * each + k, o]) << bits * k for k in range(each)) for o in range(OUT)])
        for w in range(IN // each)
    ]
    stored_zeros = [
        signed([sum((int(row[w * each + k]) - low) << bits * k for k in range(each)) for w in range(OUT // each)])
        for row in zeros
    ]
    weight = torch.zeros(OUT, IN)
    for o, i in product(range(OUT), range(IN)):
        weight[o, i] = float(grid[groups[i], o]) * (int(numbers[i, o]) - int(zeros[groups[i], o]))
    stored = {
        "layer.qweight": torch.tensor(words, dtype=torch.int32), "layer.scales": grid,
        "layer.qzeros": torch.tensor(stored_zeros, dtype=torch.int32), "layer.g_idx": groups.to(torch.int32),
    }  # fmt: skip
    return stored, {"quant_method": "gptq", "bits": bits, "group_size": 8, "checkpoint_format": version}, weight


def awq() -> Case:
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    numbers, zeros, grid = integers(0, 16, IN, OUT), integers(0, 16, 4, OUT), scales(4, OUT).half()

    def words(rows: Tensor) -> Tensor:
        packed = [
            signed([sum(int(row[8 * w + order[k]]) << 4 * k for k in range(8)) for w in range(OUT // 8)])
            for row in rows
        ]
        return torch.tensor(packed, dtype=torch.int32)

    weight = torch.zeros(OUT, IN)
    for o, i in product(range(OUT), range(IN)):
        weight[o, i] = float(grid[i // 8, o]) * (int(numbers[i, o]) - int(zeros[i // 8, o]))
    stored = {"layer.qweight": words(numbers), "layer.qzeros": words(zeros), "layer.scales": grid}
    return stored, {"quant_method": "awq", "bits": 4, "group_size": 8, "version": "gemm"}, weight


def compressed() -> Case:
    numbers, grid = integers(-8, 8, OUT, IN), scales(OUT, 4)
    words = [
        signed([sum((int(numbers[o, 8 * w + k]) + 8) << 4 * k for k in range(8)) for w in range(IN // 8)])
        for o in range(OUT)
    ]
    weight = torch.tensor([[int(numbers[o, i]) * float(grid[o, i // 8]) for i in range(IN)] for o in range(OUT)])
    stored = {
        "layer.weight_packed": torch.tensor(words, dtype=torch.int32), "layer.weight_scale": grid,
        "layer.weight_shape": torch.tensor([OUT, IN]),
    }  # fmt: skip
    settings = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}, "format": "pack-quantized"}
    return stored, {"quant_method": "compressed-tensors", **settings}, weight


def mxfp4() -> Case:
    table = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    numbers, exponents = integers(0, 16, 3, OUT, 2, 32), integers(120, 130, 3, OUT, 2)
    blocks = torch.zeros(3, OUT, 2, 16, dtype=torch.uint8)
    weight = torch.zeros(3, 64, OUT)
    for e, o, g, k in product(range(3), range(OUT), range(2), range(32)):
        q = int(numbers[e, o, g, k])
        blocks[e, o, g, k // 2] |= q << 4 * (k % 2)
        weight[e, 32 * g + k, o] = table[q & 7] * (-1 if q >> 3 else 1) * 2.0 ** (int(exponents[e, o, g]) - 127)
    stored = {"layer.weight_blocks": blocks, "layer.weight_scales": exponents.to(torch.uint8)}
    return stored, {"quant_method": "mxfp4"}, weight


CASES: dict[str, Callable[[], Case]] = {
    "fp8 in blocks": fp8_blocks,
    "fp8 by output": fp8_outputs,
    "fp8 by tensor": fp8_tensor,
    "int8 in groups with zeros": int8_groups_with_zeros,
    "bitsandbytes, 8 bits": bnb_8bit,
    "bitsandbytes, 4 bits": lambda: bnb_4bit(nested=False),
    "bitsandbytes, 4 bits twice": lambda: bnb_4bit(nested=True),
    "GPTQ": lambda: gptq(4, "gptq"),
    "GPTQ v2 of 8 bits": lambda: gptq(8, "gptq_v2"),
    "AWQ": awq,
    "compressed-tensors": compressed,
    "MXFP4": mxfp4,
}


def stored(folder: Path, case: Case, **more: Tensor) -> Path:
    tensors, settings, _ = case
    config = {"model_type": "toy", "dtype": "float32", "quantization_config": settings}
    return write_model(folder, {**tensors, **more}, config)
