"""Ten merges of small models and the sha256 of what each writes: ``python -m benchmarks.studies.output_hashes``.

A change that must leave results alone is held to that by running this before and after it, on one machine with one
set of versions: every line must stay as it was. ``--json FILE`` keeps the lines for a comparison by ``diff``. Together
the recipes take a tensor from its inputs to the output by every route that the engine has for it. Only the public
interface is used, so that one copy of this file runs with the library of either side: ``PYTHONPATH`` says which.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mergeometry as mg
from benchmarks.studies.small_encoders import TASKS, write_bert
from benchmarks.studies.small_models import write_encoder_adapters, write_encoders, write_gpt2

HEADS = ["classifier.*"]
WORKERS = {"elementwise": 2}
"""Recipes that are merged in worker processes; the others are merged in this one."""


def recipes(folder: Path) -> dict[str, dict[str, Any]]:
    """Every recipe by its name, on the inputs in ``folder``."""
    return {
        # Sums in steps: full models in one file, in shards and under a prefix, adapters of maps and of a table.
        "sums": {
            **inputs(folder, "base", "task0", "task1", "task2", "lora-table", weights=(1.0, 0.5, 2.0, 1.0)),
            "method": "average",
            "scale": 0.9,
            "tensors": [
                {"match": "encoder.1.*", "method": "task_arithmetic", "scale": -0.3},
                {"match": "temperature", "scale": 0.0},
            ],
            "heads": HEADS,
            "output": {"shard_size": "1MB"},
        },
        # Entry by entry in two processes, 16 bit in and out, one scale measured over all tensors first.
        "elementwise": {
            **inputs(folder, "base-bfloat16", *(f"task{task}-bfloat16" for task in range(3)), weights=(1.0, 0.7, 1.5)),
            "method": {"name": "ties", "density": 0.3},
            "scale": "auto",
            "tensors": [{"match": "encoder.0.*", "method": {"name": "dare_ties", "density": 0.5}}],
            "heads": HEADS,
            "seed": 3,
        },
        # Random drops of full models and adapters together, written narrower than what came in.
        "drops": {
            **inputs(folder, "base", "task0", "lora-head", "task2", "lora-table"),
            "method": {"name": "dare", "density": 0.4},
            "scale": {"rule": "svc_gamma", "per": "tensor", "factor": 0.5},
            "heads": HEADS,
            "output": {"dtype": "float16"},
            "seed": 7,
        },
        # Shared directions of full models, and a table merged row by row a million entries at a time.
        "own_blocks": {
            **inputs(folder, "base", "task0", "task1", "task2", "lora-table", weights=(1.0, 1.0, 0.8, 1.0)),
            "method": "own_blocks",
            "tensors": [
                {"match": "encoder.0.output.weight", "method": {"name": "tsv_m", "rank": 0.25}},
                {"match": "encoder.1.query.weight", "method": {"name": "dc_merge", "combine": "mean", "rank": 9}},
                {"match": "encoder.1.narrow.weight", "method": {"name": "wudi", "solver": "adam", "steps": 20}},
            ],
            "heads": HEADS,
            "output": {"dtype": "bfloat16"},
        },
        # Directions of transposed maps, other tensors by ties, refinements after sums, rows and directions alike.
        "transposed": {
            **inputs(folder, "gpt2", "gpt2-task0", "gpt2-task1", "gpt2-lora", weights=(1.0, 0.9, 1.1)),
            "method": {"name": "dc_merge", "smoothing": "linear", "keep": 0.05},
            "other": {"name": "ties", "density": 0.5},
            "refine": ["svc", {"name": "norm", "target": "root_sum_square"}],
            "scale": {"rule": "inverse_norm", "per": "model", "factor": 0.8},
            "tensors": [
                {"match": "*.0.attn.c_attn.weight", "method": "tsv_m"},
                {"match": "*.0.attn.c_proj.weight", "method": "task_arithmetic", "scale": 0.4},
                {"match": "*.0.mlp.c_fc.weight", "method": "mda"},
                {"match": "*.0.mlp.c_proj.weight", "method": {"name": "mda", "simplex": "random"}},
                {"match": "*.1.attn.c_attn.weight", "method": {"name": "mda", "simplex": "tasks"}},
                {"match": "*.1.attn.c_proj.weight", "method": {"name": "mda", "simplex": "neurons"}},
                {"match": "*.1.mlp.c_proj.weight", "method": "rows"},
                {"match": "*.wpe.weight", "method": "average"},
            ],
            "seed": 11,
        },
        # Whole spectra of full models, each tensor with the scale that its own numbers give.
        "spectral": {
            **inputs(folder, "base", "task0", "task1", "task2"),
            "method": "iso_cts",
            "other": "rows",
            "scale": {"rule": "auto", "per": "tensor"},
            "tensors": [
                {"match": "encoder.0.query.weight", "method": "wudi"},
                {"match": "encoder.0.output.weight", "method": "knots"},
                {"match": "encoder.1.query.weight", "method": "iso_c"},
                {"match": "encoder.1.narrow.weight", "method": {"name": "wudi", "solver": "exact"}},
                {"match": "*word_embeddings*", "method": "task_arithmetic"},
            ],
            "heads": HEADS,
        },
        # Adapters folded into the base: thin values up to the last step, and dense ones where a method needs them.
        "adapters_to_full": {
            **inputs(folder, "base", "lora-plain", "lora-patterns", "lora-head", "lora-table"),
            "method": {"name": "dc_merge", "smoothing": "average"},
            "scale": {"rule": "gram_retention", "per": "tensor", "factor": 0.4},
            "tensors": [
                {"match": "*word_embeddings*", "method": "rows"},
                {"match": "encoder.0.output.weight", "method": "iso_cts"},
                {"match": "encoder.1.query.weight", "method": "ties"},
                {"match": "encoder.1.alike.weight", "method": "average", "scale": 1.5},
            ],
            "heads": HEADS,
        },
        # Adapters in, an adapter out: nothing is ever dense.
        "adapters_to_adapter": {
            **inputs(folder, "base-bfloat16", "lora-plain", "lora-patterns", "lora-head", weights=(1.0, 0.5, -1.0)),
            "method": "mda",
            "refine": ["svc", "norm"],
            "scale": "auto",
            "tensors": [
                {"match": "encoder.0.query.weight", "method": "wudi", "scale": -0.7},
                {"match": "encoder.0.output.weight", "method": {"name": "knots", "density": 0.4}},
                {"match": "encoder.1.query.weight", "method": "task_arithmetic"},
                {"match": "encoder.1.narrow.weight", "method": "iso_c"},
            ],
            "heads": HEADS,
            "output": {"adapter": True},
        },
        # By the inputs of each layer, measured by running every model.
        "activations": {
            **inputs(folder, "bert", *TASKS),
            "method": "regmean",
            "other": {"name": "ties", "density": 0.6},
            "data": {"tasks": {task: str(folder / f"{task}.jsonl") for task in TASKS}, "limit": 12},
            "tensors": [{"match": "*output.dense.weight", "method": {"name": "esm", "rank": 3}, "scale": 0.6}],
        },
        # Learned: every term of the objective, a rotation of each task's features, parts of three kinds of merge.
        "learned": {
            **inputs(folder, "bert", *TASKS),
            "method": "tsv_m",
            "tensors": [{"match": "*intermediate.dense.weight", "method": "ties"}],
            "adapt": {
                "tasks": [
                    {"name": task, "data": str(folder / f"{task}.jsonl"), "head": str(folder / f"{task}-head")}
                    for task in TASKS
                ],
                "objective": "distill",
                "rotation": "subspace",
                **{"entropy": 0.5, "alpha": 0.8, "beta": 0.2, "hidden": 0.5},
                **{"steps": 6, "batch_size": 4, "check_every": 2, "held_out": 0.25, "precision": "float32"},
            },
            "seed": 5,
        },
    }


def inputs(folder: Path, base: str, *models: str, weights: tuple[float, ...] = ()) -> dict[str, Any]:
    """A recipe's base and models, by the names of their folders."""
    entries: list[dict[str, Any]] = [{"path": str(folder / model)} for model in models]
    if weights:
        entries = [{**entry, "weight": weight} for entry, weight in zip(entries, weights, strict=True)]
    return {"base": str(folder / base), "models": entries}


def output_hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Write the inputs into ``folder``, merge every recipe there, and give its name with the hash of its weights."""
    for write in (write_encoders, write_encoder_adapters, write_gpt2, write_bert):
        write(folder)
    for name, recipe in recipes(folder).items():
        output = folder / "merged" / name
        mg.merge(recipe, output=output, workers=WORKERS.get(name, 1))
        yield name, weights_hash(output)


def weights_hash(folder: Path) -> str:
    """The sha256 over all safetensors files below a folder: their names and all of their bytes."""
    digest = hashlib.sha256()
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no weights below {folder}")
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the hashes there too")
    options = parser.parse_args(arguments)
    print(f"merging with {mg.__file__}", file=sys.stderr)
    hashes = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in output_hashes(Path(folder)):
            print(f"{name:<20} {value}", flush=True)
            hashes[name] = value
    if options.json:
        options.json.write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
