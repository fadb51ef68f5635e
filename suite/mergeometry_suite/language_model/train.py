"""Train a LoRA adapter on next tokens, and keep the step with the best validation perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeometry.encoders.packed import pack_linears
from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread
from mergeometry_suite.adapters import fresh_adapter, pack_frozen
from mergeometry_suite.language_model.backbone import NAME, TOKENS, plain_language_model
from mergeometry_suite.language_model.domains import Texts
from mergeometry_suite.language_model.perplexity import perplexity, token_losses
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.schedule import warm_cosine

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Regime:
    """How an expert is trained. Rank 8 on attention keeps an adapter below 2 MB."""

    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    steps: int = 200
    batch: int = 8
    validate_every: int = 50
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Checked:
    """A look at the validation texts: ``loss`` is the mean since the last one, ``validation`` a perplexity."""

    step: int
    loss: float
    validation: float


@dataclass(frozen=True)
class Trained:
    """A PEFT model with the weights of its best step, and the checks made while training."""

    model: Any
    checks: tuple[Checked, ...]
    best: Checked


def train_adapter(
    folder: Path, texts: Texts, regime: Regime, progress: Callable[[Checked], None] | None = None
) -> Trained:
    """Train all of an adapter's matrices on the mean negative log-likelihood of a token."""
    torch.manual_seed(regime.seed)  # the adapter's first matrices
    model = build_adapter(folder, regime)
    tokenizer = Tokenizer(folder, TOKENS)
    pieces, checked = tokenizer.pieces(texts.train), tokenizer.prepare(texts.validation)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    solver = torch.optim.AdamW(trained.values(), lr=regime.learning_rate, weight_decay=regime.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(solver, lambda step: warm_cosine(step, regime.steps, regime.warmup))
    batches = _batches(len(pieces), regime.batch, torch.Generator().manual_seed(regime.seed))

    checks: list[Checked] = []
    best: Checked | None = None
    best_weights: dict[str, Tensor] = {}
    losses: list[float] = []
    with one_thread():
        for step in range(1, regime.steps + 1):
            loss = token_losses(model, tokenizer.batch(pieces, next(batches))).mean()
            solver.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), regime.clip)
            solver.step()
            schedule.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise DataError("the loss is no longer finite", hint="train with a lower learning rate")
            if step % regime.validate_every and step != regime.steps:
                continue
            check = Checked(step, round(sum(losses) / len(losses), 5), round(perplexity(model, checked), 3))
            losses.clear()
            checks.append(check)
            if best is None or check.validation < best.validation:
                best = check
                best_weights = {name: weight.detach().clone() for name, weight in trained.items()}
            if progress is not None:
                progress(check)
    assert best is not None
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(best_weights[name])
    return Trained(model, tuple(checks), best)


def build_adapter(folder: Path, regime: Regime) -> Any:
    """Build the language model with a fresh adapter on its attention; everything else is frozen."""
    model = fresh_adapter(
        plain_language_model(folder), LINEARS, rank=regime.rank, alpha=regime.alpha, kind="CAUSAL_LM", base=NAME
    )
    pack_around_adapter(model)
    return model


def pack_around_adapter(model: Any) -> None:
    """Replace all frozen layers with packed ones, inside and outside an adapter's layers."""
    pack_frozen(model)
    causal = model.get_base_model()
    for layer in causal.model.layers:
        pack_linears(layer.mlp, trains=True)
    head = torch.nn.ModuleDict({"head": causal.lm_head})
    pack_linears(head, trains=True)
    causal.lm_head = head["head"]


def _batches(count: int, size: int, shuffle: torch.Generator) -> Iterator[list[int]]:
    while True:
        order = torch.randperm(count, generator=shuffle).tolist()
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
