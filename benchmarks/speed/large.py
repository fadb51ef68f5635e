"""Merges of a 1.2B Llama in bfloat16, against what the plan said: ``python -m benchmarks.speed.large``.

A base and three fine-tunes with the names and shapes of Llama-3.2-1B, in shards, and three adapters of it. Sums and
adapters merge the whole model. A directional merge takes minutes for each layer, so it merges the same model cut to
a few layers, at two depths: memory must not grow with the number of tensors. It is also stopped by Ctrl-C when half of
its tensors are done, and continued. Two workers are timed against one, here and on a Ray cluster of this machine.
Models and outputs take 17 GB in ``benchmarks/scratch/large``, which is removed afterwards; ``--keep`` leaves the models
there. On two free cores it takes about ten minutes. ``--quick`` runs all of it on toy sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import mergeometry as mg
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import OFFLINE, ONE_THREAD, ROOT, Case, merge_command, remove, run_once, say

RESULTS = ROOT / "benchmarks" / "results" / "large.json"
TASKS, RANK = 3, 16
SPREAD, MOVE = 0.02, 0.0006
"""Standard deviations of the base's entries and of what a fine-tune adds to them."""

SHARD = 1 << 30
"""Bytes of a file of the inputs, about."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    width: int
    inner: int
    keys: int
    words: int
    layers: int

    def maps(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name and shape of the linear maps."""
        for layer in range(self.layers):
            for name, shape in {
                "self_attn.q_proj": (self.width, self.width),
                "self_attn.k_proj": (self.keys, self.width),
                "self_attn.v_proj": (self.keys, self.width),
                "self_attn.o_proj": (self.width, self.width),
                "mlp.gate_proj": (self.inner, self.width),
                "mlp.up_proj": (self.inner, self.width),
                "mlp.down_proj": (self.width, self.inner),
            }.items():
                yield f"model.layers.{layer}.{name}", shape

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of every tensor."""
        yield "model.embed_tokens.weight", (self.words, self.width)
        for name, shape in self.maps():
            yield f"{name}.weight", shape
        for layer in range(self.layers):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield f"model.layers.{layer}.{norm}.weight", (self.width,)
        yield "model.norm.weight", (self.width,)

    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 64,
            "num_key_value_heads": self.keys // 64,
            "vocab_size": self.words,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        }


WHOLE = Shape(2048, 8192, 512, 128_256, 16)
DEEP, SHALLOW = Shape(2048, 8192, 512, 4096, 8), Shape(2048, 8192, 512, 4096, 2)
TOY = (Shape(128, 256, 64, 512, 4), Shape(128, 256, 64, 64, 4), Shape(128, 256, 64, 64, 2))


def write_model(folder: Path, shape: Shape, number: int) -> Path:
    """Write the base (number 0) or a fine-tune, unless it is there."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    for place, (name, sides) in enumerate(shape.tensors()):
        shard[name] = _weights(place, sides, number)
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD:
            _write_shard(unfinished, shard, places)
    _write_shard(unfinished, shard, places)
    (unfinished / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (unfinished / "config.json").write_text(json.dumps(shape.config(), indent=1))
    unfinished.rename(folder)
    return folder


def _write_shard(folder: Path, shard: dict[str, Tensor], places: dict[str, str]) -> None:
    file = f"model-{len(set(places.values())) + 1:05d}.safetensors"
    save_file(shard, folder / file, metadata={"format": "pt"})
    places.update(dict.fromkeys(shard, file))
    shard.clear()


def _weights(place: int, sides: tuple[int, ...], number: int) -> Tensor:
    weights = torch.randn(sides, generator=torch.Generator().manual_seed(place)).mul_(SPREAD)
    if number:
        own = torch.Generator().manual_seed(1_000_000 * number + place)
        weights.add_(torch.randn(sides, generator=own), alpha=MOVE)
    return weights.bfloat16()


def write_adapter(folder: Path, shape: Shape, number: int) -> Path:
    """Write an adapter of every linear map, unless it is there."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    tensors, generator = {}, torch.Generator().manual_seed(number)
    for module, (outputs, inputs) in shape.maps():
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(RANK, inputs, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.01 * torch.randn(outputs, RANK, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "r": RANK,
        "lora_alpha": RANK, "target_modules": sorted({module.rsplit(".", 1)[1] for module, _ in shape.maps()}),
        "fan_in_fan_out": False, "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@dataclass(frozen=True)
class Inputs:
    """A base, its fine-tunes and its adapters."""

    base: Path
    tuned: list[Path]
    adapters: list[Path]


def write_inputs(folder: Path, shape: Shape, *, adapters: bool) -> Inputs:
    tuned = [write_model(folder / f"task{task}", shape, task + 1) for task in range(TASKS)]
    thin = [write_adapter(folder / f"adapter{task}", shape, task) for task in range(TASKS if adapters else 0)]
    return Inputs(write_model(folder / "base", shape, 0), tuned, thin)


@dataclass(frozen=True)
class Row:
    """One merge to measure."""

    name: str
    base: Path
    models: Sequence[Path]
    method: str
    layers: int
    workers: int
    extra: tuple[str, ...] = ()


def measured(row: Row, work: Path) -> dict[str, Any]:
    """Seconds and peak of one merge, and what its plan says."""
    output = work / "out"
    command = merge_command(row.base, row.models, row.method, output, workers=row.workers)
    case = Case(row.name, [*command, *row.extra], output, sums_processes=True)
    run = run_once(case, work)
    expected = estimate(row)
    remove(output)
    say(f"  {row.name}: {run['wall_s']:.1f} s, planned {expected['planned_s']:.1f} s; {run['peak_bytes'] / 1e6:.0f} MB")
    return {
        "name": row.name, "method": row.method, "layers": row.layers, "workers": row.workers, **run, **expected
    }  # fmt: skip


def estimate(row: Row) -> dict[str, Any]:
    plan = mg.make_plan(base=row.base, models=[str(model) for model in row.models], method=row.method)
    return {
        "planned_s": plan.seconds(row.workers),
        "planned_bytes": plan.peak_memory(row.workers),
        "tensors": len(plan.tasks),
        "read_bytes": plan.bytes_read,
        "written_bytes": plan.bytes_written,
    }


def resumed(row: Row, work: Path, whole_s: float) -> dict[str, Any]:
    """Stop a merge with Ctrl-C once half of its tensors are journalled, continue it, and compare with a whole run.

    Raises:
        RuntimeError: it ends before it is stopped, or what it then writes is not what an unbroken merge writes.
    """
    output = work / "out"
    remove(output)
    command = merge_command(row.base, row.models, row.method, output, workers=row.workers)
    environment = {**os.environ, **ONE_THREAD, **OFFLINE}
    tensors = estimate(row)["tensors"]
    started = time.perf_counter()
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)
    while _journalled(output) < tensors // 2:
        if process.poll() is not None:
            raise RuntimeError("the merge ended before it was stopped")
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait()
    first = time.perf_counter() - started
    kept = _journalled(output)
    started = time.perf_counter()
    subprocess.run([*command, "--resume"], check=True, cwd=ROOT, env=environment, **quiet)
    second = time.perf_counter() - started
    digest = _digest(output)
    remove(output)
    subprocess.run(command, check=True, cwd=ROOT, env=environment, **quiet)
    same = _digest(output) == digest
    remove(output)
    if not same:
        raise RuntimeError("a resumed merge wrote other bytes")
    say(f"  stopped after {first:.1f} s with {kept} of {tensors} tensors, continued in {second:.1f} s")
    return {
        "name": row.name, "tensors": tensors, "kept": kept, "until_stopped_s": first, "continued_s": second,
        "whole_s": whole_s, "same_bytes": same,
    }  # fmt: skip


def _journalled(output: Path) -> int:
    for journal in output.parent.glob(f".{output.name}.mergeometry-staging*/journal*"):
        return max(0, journal.read_bytes().count(b"\n") - 1)
    return 0


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def run(work: Path, *, quick: bool) -> dict[str, Any]:
    """Write the models, merge them in every way, and return all figures."""
    whole, deep, shallow = TOY if quick else (WHOLE, DEEP, SHALLOW)
    about = circumstances()
    say("writing models")
    full = write_inputs(work / "whole", whole, adapters=True)
    cut = write_inputs(work / "deep", deep, adapters=False)
    short = write_inputs(work / "shallow", shallow, adapters=False)
    rows = [
        Row("average", full.base, full.tuned, "average", whole.layers, 1),
        Row("average, 2 workers", full.base, full.tuned, "average", whole.layers, 2),
        Row("ties", full.base, full.tuned, "ties", whole.layers, 1),
        Row("adapters by tsv_m", full.base, full.adapters, "tsv_m", whole.layers, 1),
        Row(f"iso_c, {shallow.layers} layers", short.base, short.tuned, "iso_c", shallow.layers, 1),
        Row(f"iso_c, {deep.layers} layers", cut.base, cut.tuned, "iso_c", deep.layers, 1),
        Row(f"iso_c, {deep.layers} layers, 2 workers", cut.base, cut.tuned, "iso_c", deep.layers, 2),
    ]
    found = [measured(row, work) for row in rows]
    spread = replace(
        rows[-1], name=f"iso_c, {deep.layers} layers, Ray", extra=("--executor", "ray", "--address", "local")
    )
    by_ray = measured(spread, work)
    by_name = {row["name"]: row for row in found}
    one, two = by_name[f"iso_c, {deep.layers} layers"], by_name[f"iso_c, {deep.layers} layers, 2 workers"]
    few = by_name[f"iso_c, {shallow.layers} layers"]
    return {
        **about,
        "quick": quick,
        "parameters": sum(torch.Size(sides).numel() for _, sides in whole.tensors()),
        "models": TASKS,
        "rows": found,
        "resume": resumed(rows[4], work, few["wall_s"]),
        "ray": by_ray,
        "speed_up_of_two_workers": one["wall_s"] / two["wall_s"],
        "speed_up_of_ray": one["wall_s"] / by_ray["wall_s"],
        "peak_of_more_layers": {
            "few": few["layers"],
            "many": one["layers"],
            "times": one["peak_bytes"] / few["peak_bytes"],
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a check of this program")
    parser.add_argument("--keep", action="store_true", help="leave the models for another run")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args(arguments)
    work = ROOT / "benchmarks" / "scratch" / ("large-quick" if options.quick else "large")
    torch.set_num_threads(1)
    try:
        found = run(work, quick=options.quick)
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    say(f"two workers: {found['speed_up_of_two_workers']:.2f} times as fast as one; goal 1.8")


if __name__ == "__main__":
    sys.exit(main())
