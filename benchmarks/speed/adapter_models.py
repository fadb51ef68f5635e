"""Writes adapters and what a base must have for them: ``python -m benchmarks.speed.adapter_models SIZE FOLDER``.

A merge of adapters to an adapter reads the base's headers and configuration. Its weights are a hole in the file, which
takes no room on the disk.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch

from benchmarks.speed import synthetic
from benchmarks.speed.sizes import BY_NAME, Size


def main() -> None:
    size, folder = BY_NAME[sys.argv[1]], Path(sys.argv[2])
    torch.set_num_threads(1)
    write_base(folder / "base", size)
    for task in range(size.tasks):
        synthetic.write_adapter(folder / f"adapter{task}", synthetic.adapter(size, task), size)


def write_base(folder: Path, size: Size) -> None:
    """Write a base in bfloat16: its headers, one number in its first tensor, and zeros for all the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = [(f"{module}.weight", shape) for module, shape in size.matrices()]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in [*size.others(), *weights]:
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"\x80\x3f")  # 1: two tables of zeros would be tied
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps({**size.config(), "torch_dtype": "bfloat16"}, indent=1))


if __name__ == "__main__":
    main()
