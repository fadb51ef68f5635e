"""Scores weights of the suite's vision encoder on the test images of some tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.studies.scores import Expert, Scores
from mergeometry.encoders.packed import pack_linears
from mergeometry_suite.vision.backbone import build_vision_model, vision_backbone
from mergeometry_suite.vision.experts import disk_names
from mergeometry_suite.vision.images import import_pillow
from mergeometry_suite.vision.tasks import find_vision_task
from mergeometry_suite.vision.train import encode_images


def image_scores(experts: Mapping[str, Expert], count: int | None = None) -> Scores:
    """Scores on at most ``count`` test images per task; nothing else is read from there."""
    test = {}
    for task in experts:
        images = find_vision_task(task).read().test
        images = images if count is None else images.take(count)
        test[task] = (images.pixels, torch.tensor(images.labels))
    return Scores(vision_backbone(), experts, ImageEncoder(vision_backbone()), test)


class ImageEncoder:
    """The vision encoder, which takes other weights, and gives the class token of images."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = build_vision_model(folder)
        self._names = {parameter: name for name, parameter in disk_names(self._model, folder).items()}
        self._packed = pack_linears(self._model)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take new weights in place, named as on disk."""
        for place, linear in self._packed.items():
            linear.assign(*(weights[self._names[f"{place}.{own}"]] for own in ("weight", "bias")))
        with torch.inference_mode():
            for parameter, value in self._model.named_parameters():
                value.copy_(weights[self._names[parameter]])

    def encode(self, prepared: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n d"]:
        return encode_images(self._model, prepared)


def write_images(place: Path, images: Iterable[UInt8[Tensor, "h w 3"]]) -> str:
    """Write unlabelled inputs without loss, and a table of their paths, and return its place as a recipe names it."""
    folder = place.with_suffix("")
    folder.mkdir()
    rows = []
    for number, pixels in enumerate(images):
        import_pillow().fromarray(pixels.numpy()).save(folder / f"{number:04d}.png")
        rows.append(json.dumps({"image": f"{folder.name}/{number:04d}.png"}) + "\n")
    place.write_text("".join(rows), "utf-8")
    return str(place)
