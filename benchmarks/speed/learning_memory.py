"""Peak memory and seconds of learning eight experts of 86M parameters on the CPU.

``python -m benchmarks.speed.learning_memory`` writes benchmarks/results/learning_memory.json; names of cases as
arguments run those alone and print them.

The models have the shapes of BERT-base, random weights and task vectors as fine-tuning leaves them, all float32 on
disk; the vocabulary is small, so that what is measured is the encoder. Texts are this repository's own pages.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, printed_json, program, say
from benchmarks.speed.rotations import _peak_from_here, _status
from benchmarks.speed.sizes import VIT_B
from benchmarks.speed.synthetic import decaying

WORK = ROOT / "benchmarks" / "scratch" / "learning"
PAGE = ROOT / "docs" / "learning.md"
RESULT = ROOT / "benchmarks" / "results" / "learning_memory.json"
TASKS, CLASSES, VOCABULARY, LONGEST = 8, 10, 2000, 64
TEXTS, BATCH, STEPS = 24, 4, 3
LIMIT = 6e9
# The largest first.
CASES = {
    f"{start} {objective}{' checkpointing' if checkpointing else ''}": (start, objective, checkpointing)
    for checkpointing in (False, True)
    for start in ("adamerging", "tsv_m")
    for objective in ("mda", "distill")
}


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(*CASES[sys.argv[2]])))
        return
    write_models()
    cases = {}
    for name in sys.argv[1:] or CASES:
        cases[name] = printed_json([*program("learning_memory", "one"), name])
        parts = ", ".join(f"{key} {value / 1e9:.2f}" for key, value in cases[name]["peak_bytes"].items())
        say(f"{name}: GB at the peak of {parts}; {cases[name]['seconds']}")
        if len(sys.argv) == 1:
            write(cases)  # after each, so that what was measured survives an interruption


def write(cases: dict[str, Any]) -> None:
    figures = {
        "what": f"learning {TASKS} experts of the encoder's 86M parameters, {STEPS} steps of {BATCH} texts per task",
        "limit_bytes": LIMIT,
        "met": all(max(case["peak_bytes"].values()) < LIMIT for case in cases.values()),
        "whole": len(cases) == len(CASES),
        "cases": cases,
        **circumstances(),
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), figures), "utf-8")


def on_page(text: str, figures: dict[str, Any]) -> str:
    """The page of learning with its table of memory rewritten."""
    lines = ["| start, objective | peak GB, preparing | peak GB, learning |", "| --- | ---: | ---: |"]
    for name, case in figures["cases"].items():
        peaks = case["peak_bytes"]
        lines.append(f"| {name} | {peaks['preparing'] / 1e9:.1f} | {peaks['learning'] / 1e9:.1f} |")
    machine = figures["machine"]
    lines += ["", f"L{figures['what'][1:]}; {figures['date']}, {machine['cpu']}, {machine['cores']} cores."]
    return between(text, "memory", "\n".join(lines) + "\n", "python -m benchmarks.speed.learning_memory")


def measure(start: str, objective: str, checkpointing: bool) -> dict[str, Any]:
    """Peaks of a process that learns and does not write: writing merges as without learning."""
    from mergeometry.api import make_plan  # noqa: PLC0415
    from mergeometry.execution.threads import one_thread  # noqa: PLC0415
    from mergeometry.learning.from_plan import prepare  # noqa: PLC0415
    from mergeometry.learning.run import load_inputs  # noqa: PLC0415

    peaks, seconds = {}, {}
    plan = make_plan(recipe(start, objective, checkpointing))
    section = plan.recipe.adapt
    assert section is not None
    with one_thread():
        begun = time.perf_counter()
        data, encoder, heads = load_inputs(plan, section, torch.device("cpu"), lambda *_: None)
        prepared = prepare(plan, section, encoder, data, heads, workers=2, say=lambda *_: None)
        peaks["preparing"], seconds["preparing"] = _status("VmHWM"), round(time.perf_counter() - begun, 1)
        held = _peak_from_here()
        begun = time.perf_counter()
        prepared.learner.learn(lambda _: None, lambda _: None)
        peaks["learning"], seconds["learning"] = _status("VmHWM"), round(time.perf_counter() - begun, 1)
    return {
        "peak_bytes": peaks,
        "held_before_learning_bytes": held,
        "parts_bytes": prepared.scene.merged.nbytes,
        "learned_numbers": prepared.table.count,
        "precision": str(prepared.scene.dtype).removeprefix("torch."),
        "seconds": seconds,
    }


def recipe(start: str, objective: str, checkpointing: bool) -> dict[str, Any]:
    tasks = range(TASKS)
    return {
        "base": str(WORK / "base"),
        "models": [str(WORK / f"task{task}") for task in tasks],
        "method": {"name": start},
        "adapt": {
            "objective": objective,
            "tasks": [
                {
                    "name": f"task{task}",
                    "data": str(WORK / f"task{task}.txt"),
                    "head": str(WORK / f"head{task}.safetensors"),
                }
                for task in tasks
            ],
            "steps": STEPS,
            "batch_size": BATCH,
            "encoder": {"max_length": LONGEST},
            "activation_checkpointing": checkpointing,
        },
    }


def write_models() -> None:
    """The base, its fine-tunes, heads and texts, once."""
    finished = WORK / "finished"
    if finished.exists():
        return
    say("writing models")
    base = base_weights()
    write_model(WORK / "base", base)
    words = [word for page in sorted((ROOT / "docs").glob("*.md")) for word in page.read_text().split()]
    write_tokenizer(WORK / "base", words)
    for task in range(TASKS):
        write_model(WORK / f"task{task}", fine_tuned(base, task))
        generator = torch.Generator().manual_seed(task)
        head = {"weight": torch.randn(CLASSES, VIT_B.width, generator=generator), "bias": torch.zeros(CLASSES)}
        safetensors.torch.save_file(head, WORK / f"head{task}.safetensors")
        firsts = torch.randint(len(words) - LONGEST, (TEXTS,), generator=generator).tolist()
        texts = [" ".join(words[first : first + LONGEST]) for first in firsts]
        (WORK / f"task{task}.txt").write_text("\n".join(texts) + "\n")
    finished.touch()


def base_weights() -> dict[str, Tensor]:
    generator, width = torch.Generator().manual_seed(0), VIT_B.width
    tables = {"word": VOCABULARY, "position": 512, "token_type": 2}
    weights = {
        f"embeddings.{name}_embeddings.weight": 0.02 * torch.randn(rows, width, generator=generator)
        for name, rows in tables.items()
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(VIT_B.layers):
        for module, shape in VIT_B.layer(number):
            name = as_in_bert(module)
            weights[f"{name}.weight"] = 0.03 * torch.randn(shape, generator=generator)
            weights[f"{name}.bias"] = 0.02 * torch.randn(shape[0], generator=generator)
        norms += [f"encoder.layer.{number}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for norm in norms:
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.ones(width), torch.zeros(width)
    return weights


def fine_tuned(base: dict[str, Tensor], task: int) -> dict[str, Tensor]:
    """The base plus a task vector of about a twentieth of its size, with decaying singular values."""
    weights = {}
    for number, (name, tensor) in enumerate(base.items()):
        own = torch.Generator().manual_seed(1_000_000 * (task + 1) + number)
        if ".layer." in name and tensor.ndim == 2:
            update = decaying(tuple(tensor.shape), 0.7, own)
            weights[name] = tensor + update * (0.05 * tensor.norm() / update.norm())
        else:
            weights[name] = tensor + 0.001 * torch.randn(tensor.shape, generator=own)
    return weights


def as_in_bert(module: str) -> str:
    """The name of a linear map of a vision transformer as BERT names its own."""
    return module.replace("attention.attention.", "attention.self.")


def write_model(folder: Path, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": VIT_B.width,
        "intermediate_size": VIT_B.inner,
        "num_hidden_layers": VIT_B.layers,
        "num_attention_heads": 12,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """A vocabulary of the texts' own characters and most common words."""
    characters = sorted(set("".join(words).lower()))
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{letter}" for letter in characters)]
    common = [word for word, _ in Counter(word.lower() for word in words if word.isalpha()).most_common()]
    known += [word for word in common if len(word) > 1]
    (folder / "vocab.txt").write_text("\n".join(known[:VOCABULARY]) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    main()
