"""Tiny families to learn on, as files: a base with its tokenizer, experts, heads, unlabelled texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tests.helpers import models

WORDS = [f"w{number}" for number in range(34)]


def save_tokenizer(folder: Path) -> None:
    """A word for a token: `w0` is 4, `w1` is 5, and so on."""
    import tokenizers
    import transformers

    numbers = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )


def save_base(model: Any, folder: Path, seed: int = 0) -> Path:
    """The model with weights that are all random: fresh ones have biases of 0 and norms of 1, which hide mistakes."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tuned(model: Any, folder: Path, seed: int, size: float = 0.1) -> Path:
    """A fine-tune of the model, which is left as it was."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(100 + seed)
    for parameter in model.parameters():
        parameter.data += size * torch.randn_like(parameter)
    model.save_pretrained(folder)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(before[name])
    return folder


def save_head(path: Path, classes: int, width: int, seed: int) -> Path:
    generator = torch.Generator().manual_seed(200 + seed)
    head = {
        "weight": torch.randn(classes, width, generator=generator),
        "bias": torch.randn(classes, generator=generator) / 2,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(head, path)
    return path


def texts_of(seed: int, count: int, longest: int = 9) -> list[str]:
    """Texts of words that a task prefers, of two to ``longest`` words."""
    generator = torch.Generator().manual_seed(300 + seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(2, longest + 1, (), generator=generator))
        words = torch.randint(0, len(WORDS), (length,), generator=generator) // (seed + 1)
        found.append(" ".join(WORDS[number] for number in words.tolist()))
    return found


def save_texts(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def family(
    folder: Path, classes: Sequence[int] = (3, 4, 2), count: int = 40, adapters: bool = False, width: int = 16
) -> dict[str, Any]:
    """A recipe's inputs of tiny BERTs, `adapt.tasks` among them, to be completed by method and settings."""
    base = models.tiny_bert(max_position_embeddings=32, hidden_size=width)
    save_base(base, folder / "base")
    entries, tasks = [], []
    for number, own in enumerate(classes):
        place = folder / f"task{number}"
        if adapters:
            models.peft_adapter(base, place, ["query", "value", "intermediate.dense"], number, rank=2 + number)
        else:
            save_tuned(base, place, number)
        entries.append(str(place))
        tasks.append(task_of(folder, number, own, count, width))
    return {"base": str(folder / "base"), "models": entries, "adapt": {"tasks": tasks}}


def task_of(folder: Path, number: int, classes: int | None, count: int, width: int = 16) -> dict[str, Any]:
    task: dict[str, Any] = {
        "name": f"task{number}",
        "data": str(save_texts(folder / f"texts{number}.jsonl", texts_of(number, count))),
    }
    if classes is not None:
        task["head"] = str(save_head(folder / "heads" / f"task{number}.safetensors", classes, width, number))
    return task


def with_settings(inputs: Mapping[str, Any], settings: Mapping[str, Any], **recipe: Any) -> dict[str, Any]:
    """The recipe with settings of its `adapt:` section, in float32."""
    return {**inputs, **recipe, "adapt": {**inputs["adapt"], "precision": "float32", **settings}}


def prepared_of(recipe: Mapping[str, Any], workers: int = 1) -> Any:
    """What learning starts from: the learner of a recipe, that its result can be held against."""
    from mergeometry.plan import make_plan
    from mergeometry.recipe import load_recipe

    return prepared_from(make_plan(load_recipe(recipe)), workers)


def prepared_from(plan: Any, workers: int = 1) -> Any:
    """The same of a plan."""
    from mergeometry.execution.threads import one_thread
    from mergeometry.learning.from_plan import prepare
    from mergeometry.learning.run import load_inputs

    section = plan.recipe.adapt
    assert section is not None
    data, encoder, heads = load_inputs(plan, section, torch.device("cpu"), _silent)
    with one_thread():
        return prepare(plan, section, encoder, data, heads, workers=workers, say=_silent)


def learned_by(recipe: Mapping[str, Any]) -> Any:
    """The same after its last step."""
    prepared = prepared_of(recipe)
    prepared.learner.learn(_silent, _silent)
    return prepared


def features_of(prepared: Any, task: int, rows: Sequence[int]) -> torch.Tensor:
    """The learner's own features of a task's inputs, its rotation not yet applied."""
    from mergeometry.encoders.batches import Chosen
    from mergeometry.learning.forward_backward import Passes

    passes = Passes(prepared.scene, 1)
    found = passes.features([Chosen(task, row) for row in rows], prepared.table)
    passes.close()
    return torch.cat(found)


def _silent(*_: object) -> None:
    pass
