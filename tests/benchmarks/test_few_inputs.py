"""The study of a handful of inputs: its page is what was measured, and a vision model taken apart is the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.studies.few_inputs.images import Images
from benchmarks.studies.few_inputs.page import table, write_page
from benchmarks.studies.few_inputs.picture import drawn
from benchmarks.studies.few_inputs.points import families, is_curve, joined, picture_of
from benchmarks.studies.image_scores import ImageEncoder
from benchmarks.studies.scores import read_weights
from mergeometry_suite.vision.backbone import vision_backbone

ROOT = Path(__file__).parents[2]


def _kept() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / "few_inputs.json").read_text("utf-8"))


def test_the_page_and_its_drawings_are_what_was_measured(tmp_path: Path) -> None:
    page, copy = ROOT / "docs" / "learning.md", tmp_path / "learning.md"
    copy.write_text(page.read_text("utf-8"), "utf-8")
    write_page(_kept(), copy)
    assert copy.read_text("utf-8") == page.read_text("utf-8"), "python -m benchmarks.studies.few_inputs --kept"
    for own in filter(is_curve, families(_kept()["points"])):
        assert (page.parent / "pictures" / picture_of(own)).read_text("utf-8") == drawn(own)


def test_learning_for_longer_is_a_row_of_its_own() -> None:
    ends = {"base": {"a": 0.5}, "experts": {"a": 0.9}}
    free = {"tasks": ["a"], "kind": "image", "drawn": "new", "arm": "auto", "count": 0, "seed": 0, "test": 8}
    free |= {"accuracies": {"a": 0.8}, "ends": ends, "processor_seconds": 6.0}
    short = {**free, "arm": "learned", "count": 4, "steps": 30}
    long = {**short, "steps": 120, "accuracies": {"a": 0.9}}
    again = {**long, "accuracies": {"a": 0.7}}
    points = joined([free, short, long], [again])
    assert points == [free, short, again]
    written = table({"points": points, "date": "today", "machine": {"cpu": "a machine"}})
    assert "| learned, 30 steps | 80.0 (75 %) | 0.1 |" in written
    assert "| learned, 120 steps | 70.0 (50 %) | 0.1 |" in written
    assert "8 test images per task" in written


@pytest.mark.suite
def test_the_layers_of_the_vision_encoder_are_the_encoder() -> None:
    pixels = torch.randint(0, 256, (5, 56, 56, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    encoder, layers = ImageEncoder(vision_backbone()), Images().layers()
    weights = read_weights(vision_backbone())
    encoder.load({name: weight * 0.9 for name, weight in weights.items()})
    scaled = encoder.encode(pixels)
    encoder.load(weights)
    whole = encoder.encode(pixels)
    model = layers.build()
    layers.load(model, weights)
    with torch.inference_mode():
        (batch,) = layers.prepare(list(pixels))
        hidden = layers.embedded(model, batch)
        for part in layers.parts(model).values():
            hidden = layers.run(part, hidden, batch)
    assert torch.allclose(hidden[:, 0], whole, atol=1e-4)
    assert not torch.allclose(scaled, whole, atol=1e-2)
