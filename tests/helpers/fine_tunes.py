"""Tiny models that were really fine-tuned: a masked language model that learned to continue one pattern of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.helpers.tiny import tiny


def fine_tuned(seed: int, steps: int = 12, rate: float = 3e-4) -> Any:
    """The BERT of `tiny`, trained by AdamW; each seed is a task: another permutation of the tokens to predict."""
    model = tiny("bert").train()
    generator = torch.Generator().manual_seed(100 + seed)
    answer = torch.randperm(64, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        tokens = torch.randint(0, 64, (16, 8), generator=generator)
        loss = model(input_ids=tokens, labels=answer[tokens]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_fine_tunes(folder: Path, count: int) -> tuple[Path, list[Path]]:
    """A base and its fine-tunes, saved by transformers."""
    tiny("bert").save_pretrained(folder / "base")
    places = [folder / f"task{seed}" for seed in range(count)]
    for seed, place in enumerate(places):
        fine_tuned(seed).save_pretrained(place)
    return folder / "base", places
