"""What mergekit 0.1.5 makes of recipes as files, for our tests: ``python -m benchmarks.studies.golden_recipes``.

mergekit runs each recipe of ``tests/golden/mergekit_recipes/``, in an environment of its own, on small random models of
nine architectures that transformers made. Inputs and outputs go into safetensors files next to the recipes, where
``tests/recipe/test_mergekit_golden.py`` holds our merges of the same files, unchanged, against them. Then the table of
``docs/coming-from-mergekit.md`` is written anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import mergeometry as mg
from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import ROOT, say

FOLDER = ROOT / "tests" / "golden" / "mergekit_recipes"
PAGE = ROOT / "docs" / "coming-from-mergekit.md"
DRIVER = ROOT / "benchmarks" / "studies" / "mergekit_recipes_driver.py"
ARCHITECTURES = ("llama", "qwen2", "mistral", "gemma", "phi", "mixtral", "bert", "vit", "gpt2")
MODELS = ("base", "a", "b", "c")
WITH_TOKENIZERS = ("base", "x", "y")
_TABLE = re.compile(r"(<!-- agreement -->\n).*?(<!-- end of agreement -->)", re.DOTALL)
_EXPERT = re.compile(r"(.*)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight")

State = Mapping[str, Tensor]


def recipes(architecture: str) -> list[Path]:
    """The recipes for an architecture: all for Llama, some for the others."""
    return sorted(FOLDER.glob("*.yml" if architecture == "llama" else "all-*.yml"))


def stored(architecture: str) -> tuple[dict[str, dict[str, Tensor]], str]:
    """The stored models and mergekit's outputs by their names, and the models' configuration."""
    with safe_open(FOLDER / f"{architecture}.safetensors", "pt") as file:
        metadata = file.metadata()
        shapes = json.loads(metadata["shapes"])
        found = {key: _apart(file.get_tensor(key), shapes.get(key, shapes["base"])) for key in file.keys()}  # noqa: SIM118
    return found, metadata["config"]


@contextlib.contextmanager
def in_folder(architecture: str, folder: Path) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Write the models into a folder, which is the current one meanwhile, and give mergekit's outputs."""
    found, config = stored(architecture)
    for name in MODELS:
        (folder / name).mkdir(parents=True)
        save_file(found.pop(name), folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(config)
    with contextlib.chdir(folder):
        yield found


def ours(recipe: Path, output: Path) -> dict[str, Tensor]:
    """What we make of a recipe in the current folder, with the experts of a layer as mergekit writes them."""
    mg.merge(recipe, output=output, workers=1)
    merged = load_file(output / "model.safetensors")
    experts: dict[str, dict[str, dict[int, Tensor]]] = {}
    for name in list(merged):
        if match := _EXPERT.fullmatch(name):
            experts.setdefault(match[1], {}).setdefault(match[3], {})[int(match[2])] = merged.pop(name)
    for layer, parts in experts.items():
        into = [torch.cat([parts["w1"][place], parts["w3"][place]]) for place in sorted(parts["w1"])]
        merged[f"{layer}.mlp.experts.gate_up_proj"] = torch.stack(into)
        merged[f"{layer}.mlp.experts.down_proj"] = torch.stack([parts["w2"][place] for place in sorted(parts["w2"])])
        merged[f"{layer}.mlp.gate.weight"] = merged.pop(f"{layer}.block_sparse_moe.gate.weight")
    return merged


def apart(one: State, other: State, recipe: str) -> float:
    """The largest difference between entries of two models of the same tensors.

    mergekit merges all experts of a layer as one tensor, whose name filters see, where we merge each matrix under its
    own name: only sums of entries without filters by name are the same.
    """
    assert one.keys() == other.keys(), sorted(one.keys() ^ other.keys())
    compared = [name for name in other if ".experts." not in name or recipe == "all-task-arithmetic"]
    return max(float((one[name] - other[name]).abs().max()) for name in compared)


def main() -> None:
    MERGEKIT.make()
    for old in FOLDER.rglob("*.safetensors"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # mergekit adds tokens in the order of a set of models, which hashes decide: with this seed, in the recipe's.
        environment = {**os.environ, "PYTHONHASHSEED": "1"}
        subprocess.run([MERGEKIT.program("python"), DRIVER, FOLDER, root], check=True, env=environment)
        (FOLDER / "report.json").write_text((root / "report.json").read_text() + "\n")
        for architecture in ARCHITECTURES:
            folder = root / architecture
            states = {name: load_file(folder / name / "model.safetensors") for name in MODELS}
            states |= {path.stem: load_file(path) for path in sorted((folder / "out").iterdir())}
            listed = {name: [(key, list(state[key].shape)) for key in sorted(state)] for name, state in states.items()}
            shapes = {name: item for name, item in listed.items() if name == "base" or item != listed["base"]}
            config = (folder / "base" / "config.json").read_text()
            path = FOLDER / f"{architecture}.safetensors"
            together = {name: _together(state) for name, state in states.items()}
            save_file(together, path, metadata={"shapes": json.dumps(shapes), "config": config})
            say(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size:,} bytes, {len(states) - len(MODELS)} recipes")
        _store_tokenizers(root / "tokenizers")
    write_table()


def _store_tokenizers(folder: Path) -> None:
    """Store the models whose vocabularies differ, with their files, and what mergekit made of them."""
    tensors, files = {}, {}
    for name in WITH_TOKENIZERS:
        tensors |= {f"{name}:{key}": value for key, value in load_file(folder / name / "model.safetensors").items()}
        files[name] = {path.name: path.read_text() for path in sorted((folder / name).glob("*.json"))}
    for path in sorted((folder / "out").iterdir()):
        tensors |= {f"out-{path.stem}:{key}": value for key, value in load_file(path).items()}
    save_file(tensors, FOLDER / "tokenizers" / "models.safetensors", metadata={"files": json.dumps(files)})


@contextlib.contextmanager
def with_tokenizers(folder: Path) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Write these models into a folder, which is the current one meanwhile, and give mergekit's outputs."""
    found: dict[str, dict[str, Tensor]] = {}
    with safe_open(FOLDER / "tokenizers" / "models.safetensors", "pt") as file:
        files = json.loads(file.metadata()["files"])
        for key in file.keys():  # noqa: SIM118
            label, _, name = key.partition(":")
            found.setdefault(label, {})[name] = file.get_tensor(key)
    for label, texts in files.items():
        (folder / label).mkdir(parents=True)
        save_file(found.pop(label), folder / label / "model.safetensors", metadata={"format": "pt"})
        for name, text in texts.items():
            (folder / label / name).write_text(text)
    with contextlib.chdir(folder):
        yield {label.removeprefix("out-"): state for label, state in found.items()}


def write_table() -> None:
    """Write the agreement into its page."""
    made = table()
    PAGE.write_text(_TABLE.sub(lambda match: match[1] + made + match[2], PAGE.read_text()))


def table() -> str:
    """The agreement per recipe and architecture, as Markdown."""
    found: dict[str, dict[str, str]] = {path.stem: {} for path in recipes("llama")}
    for architecture in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as scratch, in_folder(architecture, Path(scratch)) as outputs:
            for path in recipes(architecture):
                if path.stem in outputs:
                    merged = ours(path, Path(scratch) / "out" / path.stem)
                    found[path.stem][architecture] = f"{apart(merged, outputs[path.stem], path.stem):.0e}"
    head = f"| recipe | {' | '.join(ARCHITECTURES)} |\n|{' --- |' * (len(ARCHITECTURES) + 1)}\n"
    rows = [f"| `{name}` | {' | '.join(row.get(one, '') for one in ARCHITECTURES)} |\n" for name, row in found.items()]
    return head + "".join(rows)


def _together(state: State) -> Tensor:
    return torch.cat([state[name].float().reshape(-1) for name in sorted(state)])


def _apart(flat: Tensor, shapes: list[tuple[str, list[int]]]) -> dict[str, Tensor]:
    found, first = {}, 0
    for name, shape in shapes:
        size = torch.Size(shape).numel()
        found[name] = flat[first : first + size].reshape(shape).clone()
        first += size
    return found


if __name__ == "__main__":
    main()
