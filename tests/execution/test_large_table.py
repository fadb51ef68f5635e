"""A table of 256,000 tokens by 4,096 in bfloat16, merged in a fraction of its own size: addresses are limited."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mergeometry.methods import registry
from mergeometry.sources import TensorReader, read_header

ROWS, WIDTH, TIMES = 8_000, 4_096, 32
NAME = "model.embed_tokens.weight"
MERGES = """
import json, resource, sys
import mergeometry as mg
from mergeometry.plan import machine
recipe, output = json.loads(sys.argv[1]), sys.argv[2]
expected = mg.make_plan(recipe).peak_memory(1)
bound = int(1.1 * expected) + machine.ADDRESS_BYTES + machine.THREAD_ADDRESS_BYTES * machine.cores()
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
print(json.dumps([expected, mg.merge(recipe, output, workers=1).totals.peak_memory]))
"""


def write(folder: Path, block: Tensor) -> str:
    """A model whose table is the block many times over."""
    folder.mkdir()
    data = block.view(torch.int16).numpy().tobytes()
    entry = {"dtype": "BF16", "shape": [ROWS * TIMES, WIDTH], "data_offsets": [0, len(data) * TIMES]}
    header = json.dumps({NAME: entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(TIMES):
            file.write(data)
    return str(folder)


@pytest.mark.slow
def test_it_takes_a_fraction_of_its_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = torch.randn(ROWS, WIDTH).bfloat16()
    tuned = [(base + 0.05 * torch.randn(ROWS, WIDTH)).bfloat16() for _ in range(2)]
    models = [write(tmp_path / f"task{number}", block) for number, block in enumerate(tuned)]
    recipe = {"base": write(tmp_path / "base", base), "models": models, "method": "ties"}
    command = [sys.executable, "-c", MERGES, json.dumps(recipe), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected, peak = json.loads(done.stdout)
    table = 2 * ROWS * TIMES * WIDTH
    assert peak <= 1.1 * expected and expected < table / 2
    # The same share of equal blocks is kept in each as of the whole.
    under = base.float()
    delta = registry.build("ties", {})([model.float() - under for model in tuned], [1.0, 1.0])
    wanted = (under + torch.as_tensor(delta)).bfloat16()
    info = read_header(tmp_path / "out" / "model.safetensors").tensors[NAME]
    with TensorReader() as reader:
        merged = reader.read(info).view(TIMES, ROWS, WIDTH)
    assert all(torch.equal(block, wanted) for block in merged)
