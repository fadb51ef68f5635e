"""What mergekit 0.1.5 makes of two small models, for our tests: ``python -m benchmarks.studies.golden_mergekit``.

Each case of `CASES` is one merge, written once as mergekit's recipe and once as ours. mergekit runs it, in an
environment of its own, on a two-layer Llama and on a state with BERT's names, both of random float32 weights. Inputs
and outputs go into ``tests/golden/mergekit/``, where ``tests/methods/test_golden_mergekit.py`` holds our merges
against them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import ROOT, say

FOLDER = ROOT / "tests" / "golden" / "mergekit"
ARCHITECTURES = ("llama", "bert")
MODELS = ("a", "b", "c", "d")


@dataclass(frozen=True, slots=True)
class Case:
    """One merge of some of the models, in mergekit's words and in ours."""

    name: str
    merge_method: str
    method: dict[str, Any]
    models: tuple[str, ...] = ("a", "b", "c")
    weights: tuple[float, ...] | None = None
    base: str | None = "base"
    """mergekit's base model; the task vectors of ours always start from the one that is named so."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """mergekit's parameters for the whole recipe."""
    own: dict[str, Any] = field(default_factory=dict)
    """mergekit's parameters for each model, beside its weight."""

    def recipe(self, folder: Path) -> dict[str, Any]:
        """mergekit's recipe, for the models in a folder."""
        weights = self.weights or [None] * len(self.models)
        models = [
            {"model": str(folder / name), "parameters": {**self.own, **({} if weight is None else {"weight": weight})}}
            for name, weight in zip(self.models, weights, strict=True)
        ]
        named = {} if self.base is None else {"base_model": str(folder / self.base)}
        if self.merge_method in ("slerp", "nearswap", "arcee_fusion"):
            models = [{"model": entry["model"]} for entry in models]
        given = {"merge_method": self.merge_method, "dtype": "float32", "models": models, **named}
        return {**given, "parameters": self.parameters}


THIRDS = (1.0, 0.5, 2.0)
CASES = (
    Case("linear", "linear", {"name": "average"}, weights=THIRDS, base=None),
    Case(
        "linear, not normalised",
        "linear",
        {"name": "average", "normalize": False},
        weights=(0.5, 0.7, -0.4),
        base=None,
        parameters={"normalize": False},
    ),
    Case("slerp", "slerp", {"name": "slerp", "t": 0.3}, models=("a", "b"), base="a", parameters={"t": 0.3}),
    Case("slerp, near", "slerp", {"name": "slerp", "t": 0.3}, models=("base", "d"), parameters={"t": 0.3}),
    Case(
        "slerp, nearly parallel",
        "slerp",
        {"name": "slerp", "t": 0.3, "dot_threshold": 0.9995},
        models=("base", "d"),
        parameters={"t": 0.3},
    ),
    Case("nuslerp", "nuslerp", {"name": "nuslerp"}, models=("a", "b"), weights=(1.0, 2.0)),
    Case(
        "nuslerp, rows",
        "nuslerp",
        {"name": "nuslerp", "flatten": False},
        models=("a", "b"),
        weights=(1.0, 2.0),
        parameters={"nuslerp_flatten": False},
    ),
    Case(
        "nuslerp, columns",
        "nuslerp",
        {"name": "nuslerp", "flatten": False, "row_wise": True},
        models=("a", "b"),
        weights=(1.0, 2.0),
        parameters={"nuslerp_flatten": False, "nuslerp_row_wise": True},
    ),
    Case(
        "nuslerp, no base",
        "nuslerp",
        {"name": "nuslerp", "flatten": False, "origin": "zero"},
        models=("a", "b"),
        weights=(1.0, 2.0),
        base=None,
        parameters={"nuslerp_flatten": False},
    ),
    Case("multislerp, no base", "multislerp", {"name": "multislerp", "origin": "zero"}, weights=THIRDS, base=None),
    Case("multislerp", "multislerp", {"name": "multislerp"}, weights=THIRDS),
    Case(
        "multislerp, not normalised",
        "multislerp",
        {"name": "multislerp", "normalize_weights": False},
        weights=THIRDS,
        parameters={"normalize_weights": False},
    ),
    Case("karcher", "karcher", {"name": "karcher"}, base=None),
    Case("task_arithmetic", "task_arithmetic", {"name": "task_arithmetic"}, weights=(1.0, -0.5, 0.25)),
    Case(
        "task_arithmetic, normalised",
        "task_arithmetic",
        {"name": "task_arithmetic", "normalize": True},
        weights=THIRDS,
        parameters={"normalize": True},
    ),
    Case("ties, density 1", "ties", {"name": "ties", "density": 1.0}, weights=THIRDS, own={"density": 1.0}),
    Case("ties", "ties", {"name": "ties", "density": 0.4}, weights=THIRDS, own={"density": 0.4}),
    Case(
        "ties, rescaled",
        "ties",
        {"name": "ties", "density": 0.4, "rescale": True},
        weights=THIRDS,
        parameters={"rescale": True},
        own={"density": 0.4},
    ),
    Case(
        "ties, rescaled and added",
        "ties",
        {"name": "ties", "density": 0.4, "rescale": True, "normalize": False},
        weights=(1.0, -0.5, 2.0),
        parameters={"rescale": True, "normalize": False},
        own={"density": 0.4},
    ),
    Case(
        "dare_linear, normalised, density 1",
        "dare_linear",
        {"name": "dare", "density": 1.0, "rescale": "l1", "normalize": True},
        weights=THIRDS,
        parameters={"normalize": True},
    ),
    Case(
        "dare_ties, added, density 1",
        "dare_ties",
        {"name": "dare_ties", "density": 1.0, "rescale": "l1", "normalize": False},
        weights=(1.0, -0.5, 2.0),
    ),
    Case(
        "della, added, density 1",
        "della",
        {"name": "della", "density": 1.0, "rescale": "l1", "normalize": False},
        weights=(1.0, -0.5, 2.0),
        parameters={"normalize": False},
    ),
    Case("dare_linear, density 1", "dare_linear", {"name": "dare", "density": 1.0}, weights=THIRDS),
    Case(
        "dare_ties, density 1",
        "dare_ties",
        {"name": "dare_ties", "density": 1.0},
        weights=THIRDS,
        parameters={"normalize": True},
    ),
    Case("della, density 1", "della", {"name": "della", "density": 1.0}, weights=THIRDS),
    Case("della_linear, density 1", "della_linear", {"name": "della_linear", "density": 1.0}, weights=THIRDS),
    Case(
        "breadcrumbs",
        "breadcrumbs",
        {"name": "breadcrumbs", "density": 0.5, "gamma": 0.1},
        weights=THIRDS,
        own={"density": 0.5, "gamma": 0.1},
    ),
    Case(
        "breadcrumbs_ties",
        "breadcrumbs_ties",
        {"name": "breadcrumbs_ties", "density": 0.5, "gamma": 0.1},
        weights=(1.0, -0.5, 2.0),
        own={"density": 0.5, "gamma": 0.1},
    ),
    Case(
        "breadcrumbs, rescaled and normalised",
        "breadcrumbs",
        {"name": "breadcrumbs", "density": 0.5, "gamma": 0.1, "rescale": True, "normalize": True},
        weights=THIRDS,
        parameters={"rescale": True, "normalize": True},
        own={"density": 0.5, "gamma": 0.1},
    ),
    Case(
        "breadcrumbs_ties, rescaled and normalised",
        "breadcrumbs_ties",
        {"name": "breadcrumbs_ties", "density": 0.5, "gamma": 0.1, "rescale": True, "normalize": True},
        weights=THIRDS,
        parameters={"rescale": True, "normalize": True},
        own={"density": 0.5, "gamma": 0.1},
    ),
    Case("sce", "sce", {"name": "sce"}),
    Case("sce, selected", "sce", {"name": "sce", "select_topk": 0.5}, parameters={"select_topk": 0.5}),
    Case("nearswap", "nearswap", {"name": "nearswap", "t": 0.05}, models=("a",), parameters={"t": 0.05}),
    Case("arcee_fusion", "arcee_fusion", {"name": "arcee_fusion"}, models=("a",)),
    Case("model_stock", "model_stock", {"name": "model_stock"}),
    Case(
        "model_stock, by row",
        "model_stock",
        {"name": "model_stock", "filter_wise": True},
        parameters={"filter_wise": True},
    ),
    Case("model_stock, opposed", "model_stock", {"name": "model_stock"}, models=("a", "b", "d")),
    Case(
        "model_stock, opposed, as there",
        "model_stock",
        {"name": "model_stock", "clamp": False, "skip_zeros": False},
        models=("a", "b", "d"),
    ),
    Case("ram", "ram", {"name": "ram"}),
    Case("ramplus_tl", "ramplus_tl", {"name": "ramplus_tl", "alpha": 1.0}, parameters={"alpha": 1.0}),
)


def shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors."""
    if architecture == "llama":
        layer = {
            **{f"self_attn.{side}_proj": (8, 8) for side in "qo"},
            **{f"self_attn.{side}_proj": (4, 8) for side in "kv"},
            **{f"mlp.{side}_proj": (12, 8) for side in ("gate", "up")},
            "mlp.down_proj": (8, 12),
            "input_layernorm": (8,),
            "post_attention_layernorm": (8,),
        }
        layers = {f"model.layers.{i}.{name}.weight": shape for i in range(2) for name, shape in layer.items()}
        return {
            "model.embed_tokens.weight": (16, 8),
            **layers,
            "model.norm.weight": (8,),
            "lm_head.weight": (16, 8),
        }
    maps = {f"attention.self.{side}": (8, 8) for side in ("query", "key", "value")}
    maps |= {"attention.output.dense": (8, 8), "intermediate.dense": (12, 8), "output.dense": (8, 12)}
    found = {f"embeddings.{kind}_embeddings.weight": (size, 8) for kind, size in (("word", 16), ("position", 6))}
    for name, shape in maps.items():
        found |= {f"encoder.layer.0.{name}.weight": shape, f"encoder.layer.0.{name}.bias": shape[:1]}
    for place in ("embeddings", "encoder.layer.0.output"):
        found |= {f"{place}.LayerNorm.{kind}": (8,) for kind in ("weight", "bias")}
    return found


def config(architecture: str) -> dict[str, Any]:
    """A configuration: mergekit stops with a TypeError on BERT's, and where it knows none takes the names on disk."""
    if architecture == "bert":
        return {"model_type": "bert", "architectures": ["Unlisted"], "hidden_act": "unlisted"}
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": False}
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float32", **sizes, **heads}


def inputs(architecture: str) -> dict[str, dict[str, Tensor]]:
    """A base and four fine-tunes.

    Three changed seven entries of ten, mostly in a direction that they share, so that few signs conflict, the mean
    cosine of every row is positive, and no row or column stays as it was. The fourth lies close to the base, on the
    other side of it than the first.
    """
    generator = torch.Generator().manual_seed(20 + ARCHITECTURES.index(architecture))
    models: dict[str, dict[str, Tensor]] = {name: {} for name in ("base", *MODELS)}
    for name, shape in shapes(architecture).items():
        base, common = (torch.randn(shape, generator=generator) for _ in range(2))
        models["base"][name] = base
        for model in "abc":
            own = torch.randn(shape, generator=generator)
            changed = torch.rand(shape, generator=generator) < 0.7
            models[model][name] = base + 0.1 * (3 * common + own) * changed
        models["d"][name] = base - 0.07 * (models["a"][name] - base)
    return models


def write(models: Mapping[str, Mapping[str, Tensor]], architecture: str, folder: Path) -> None:
    """Write each model into a folder of its own."""
    for name, state in models.items():
        (folder / name).mkdir(parents=True)
        save_file(dict(state), folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(config(architecture), indent=1))


def read(architecture: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """The stored inputs, and mergekit's outputs by the names of the cases."""
    with safe_open(FOLDER / f"{architecture}.safetensors", "pt") as file:
        stored = {key: _apart(file.get_tensor(key), architecture) for key in file.keys()}  # noqa: SIM118
    models = {name: stored.pop(name) for name in ("base", *MODELS)}
    return models, stored


def _apart(flat: Tensor, architecture: str) -> dict[str, Tensor]:
    found, first = {}, 0
    for name, shape in shapes(architecture).items():
        size = torch.Size(shape).numel()
        found[name] = flat[first : first + size].reshape(shape).clone()
        first += size
    return found


def _together(state: Mapping[str, Tensor], architecture: str) -> Tensor:
    return torch.cat([state[name].float().reshape(-1) for name in shapes(architecture)])


def main() -> None:
    MERGEKIT.make()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for architecture in ARCHITECTURES:
        models = inputs(architecture)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write(models, architecture, folder)
            jobs = [{"recipe": case.recipe(folder), "output": str(folder / "out" / case.name)} for case in CASES]
            (folder / "cases.json").write_text(json.dumps(jobs))
            driver = ROOT / "benchmarks" / "studies" / "mergekit_driver.py"
            subprocess.run([MERGEKIT.program("python"), driver, folder / "cases.json"], check=True)
            outputs = {job["output"]: load_file(Path(job["output"]) / "model.safetensors") for job in jobs}
        together = {name: _together(state, architecture) for name, state in models.items()}
        for case, job in zip(CASES, jobs, strict=True):
            together[case.name] = _together(outputs[job["output"]], architecture)
        path = FOLDER / f"{architecture}.safetensors"
        save_file(together, path, metadata={"mergekit": MERGEKIT.version})
        say(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size:,} bytes, {len(CASES)} cases")


if __name__ == "__main__":
    main()
