"""Two guesses of an input's task from the experts' weights alone, which the study sets beside routers with data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

PREFIX = "base_model.model."
UNMOVED = 1e-3
"""Added to the length of a word's move before its logarithm is taken: the order of the smallest moves that are any."""


class Energies:
    """How much of what reaches a matrix lies in the input directions of each residual, summed over the matrices.

    A residual's `lora_A` holds the directions in which its task's inputs were strong enough to be learned from.
    """

    def __init__(self, model: nn.Module, folders: Mapping[str, Path]) -> None:
        self._downs: dict[str, list[Tensor | None]] = {}
        self._seen: dict[str, Tensor] = {}
        stored = [load_file(folder / "adapter_model.safetensors") for folder in folders.values()]
        for name, module in model.named_modules():
            downs = [one.get(f"{PREFIX}{name}.lora_A.weight") for one in stored]
            if isinstance(module, nn.Linear) and any(down is not None for down in downs):
                self._downs[name] = [None if down is None else down.float() for down in downs]
                module.register_forward_pre_hook(self._keep(name))
        self._model = model

    def _keep(self, name: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._seen[name] = inputs[0]

        return keep

    def scores(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "inputs tasks"]:
        """The share of each task for each input."""
        mask = batch["attention_mask"].float()
        with torch.inference_mode():
            self._model(**batch)
        whole = torch.zeros(len(mask), len(next(iter(self._downs.values()))))
        for name, downs in self._downs.items():
            hidden = self._seen[name]
            if hidden.shape[:2] != mask.shape:  # the pooler, which sees one token
                continue
            for task, down in enumerate(downs):
                if down is not None:
                    energy = (hidden @ down.T).square().sum(dim=-1) / down.square().sum()
                    whole[:, task] += (energy * mask).sum(dim=1) / mask.sum(dim=1)
        return whole


def word_moves(base: Path, experts: Sequence[Path]) -> Float[Tensor, "words tasks"]:
    """How far each expert moved the row of each word, as a logarithm less the mean over all words.

    Without weight decay an expert moves the rows of the words that it has read, and most those that it read often.
    """

    def table(folder: Path) -> Tensor:
        stored = load_file(folder / "model.safetensors")
        return stored[next(name for name in stored if name.endswith("word_embeddings.weight"))].float()

    own = table(base)
    moved = torch.stack([(table(expert) - own).norm(dim=1) for expert in experts], dim=1)
    logarithms = (moved + UNMOVED).log()
    return logarithms - logarithms.mean(dim=0)


def by_words(moves: Float[Tensor, "words tasks"], batch: Mapping[str, Tensor]) -> Float[Tensor, "inputs tasks"]:
    """The mean over the words of each input; the marks of start and end count for every task alike."""
    mask = batch["attention_mask"].float().unsqueeze(-1)
    return (moves[batch["input_ids"]] * mask).sum(dim=1) / mask.sum(dim=1)


def folders_of(merged: Path) -> dict[str, Path]:
    """Each task's residual in a merge's output."""
    record = json.loads((merged / "mergeometry.json").read_text("utf-8"))
    return {task: merged / entry["folder"] for task, entry in record["residuals"].items()}
