"""Decay that is applied afterwards is that of the optimiser's steps, and the page says what was measured."""

from __future__ import annotations

import json

import torch

from benchmarks.studies.weight_decay import COMMAND, PAGE, RESULT, decayed_afterwards, on_page
from mergeometry_suite.schedule import warm_cosine


def test_decay_afterwards_is_that_of_every_step() -> None:
    """Steps as long as their rates, all in one direction; the second of three epochs was kept."""
    total, kept, rate, decay = 30, 20, 3e-2, 0.5
    record = {
        "regime": {"learning_rate": rate, "warmup": 0.1}, "kept_epoch": 2,
        "epochs": [{"number": number, "steps": 10 * number} for number in (1, 2, 3)],
    }  # fmt: skip
    base = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step[0] = 0
    plain, decayed = base.clone(), base.clone()
    for rates in (rate * warm_cosine(number, total, 0.1) for number in range(kept)):
        plain += rates * step
        decayed = decayed * (1 - rates * decay) + rates * step
    counts = torch.arange(3)
    found = decayed_afterwards({"w": base, "ids": counts}, {"w": plain, "ids": counts}, record, decay)
    assert torch.allclose(found["w"], decayed, rtol=1e-12) and found["ids"] is counts
    factors = found["w"][0] / base[0]
    assert float(factors[0]) < 0.95 and torch.allclose(factors, factors[0]), "what no step moved shrinks as a whole"


def test_the_page_is_written_from_the_kept_result() -> None:
    page = PAGE.read_text("utf-8")
    assert on_page(page, json.loads(RESULT.read_text("utf-8"))) == page, COMMAND
