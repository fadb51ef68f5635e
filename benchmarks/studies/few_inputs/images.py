"""Images, and the suite's vision encoder taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.studies.few_inputs.kinds import Drawn
from benchmarks.studies.image_scores import image_scores, write_images
from benchmarks.studies.scores import Expert, Scores
from mergeometry_suite.vision.backbone import build_vision_model, prepare_pixels, vision_backbone
from mergeometry_suite.vision.experts import disk_names, load_full_vision_expert
from mergeometry_suite.vision.images import ImageSplits
from mergeometry_suite.vision.tasks import find_vision_task

_TOGETHER = 32  # images of a batch


class Images:
    """The vision suite's full fine-tunes."""

    name = "image"
    encoder: Mapping[str, Any] = {"kind": "image", "pooling": "first"}

    def expert(self, task: str, trained: int) -> Expert:
        return load_full_vision_expert(task, trained)

    def scores(self, experts: Mapping[str, Expert], count: int | None) -> Scores:
        return image_scores(experts, count)

    def inputs(self, task: str, drawn: Drawn) -> Sequence[UInt8[Tensor, "h w 3"]]:
        splits = _splits(task)
        return list(splits.train.pixels if drawn == "trained on" else splits.validation.pixels)

    def write(self, place: Path, inputs: Sequence[UInt8[Tensor, "h w 3"]]) -> str:
        return write_images(place, inputs)

    def layers(self) -> ImageLayers:
        return ImageLayers()


@cache
def _splits(task: str) -> ImageSplits:
    return find_vision_task(task).read()


class ImageLayers:
    """The layers of the vision encoder, and the norm after them, whose class token is the feature."""

    def __init__(self) -> None:
        named = disk_names(self.build(), vision_backbone())
        self.names: Mapping[str, str] = {parameter: name for name, parameter in named.items()}

    def build(self) -> Any:
        return build_vision_model(vision_backbone())

    def load(self, model: Any, weights: Mapping[str, Tensor]) -> None:
        with torch.inference_mode():
            for parameter, value in model.named_parameters():
                value.copy_(weights[self.names[parameter]])

    def prepare(self, inputs: Sequence[UInt8[Tensor, "h w 3"]]) -> Sequence[Float[Tensor, "n 3 h w"]]:
        return prepare_pixels(torch.stack(list(inputs))).split(_TOGETHER)

    def parts(self, model: Any) -> Mapping[str, Any]:
        layers = {f"encoder.layer.{place}": layer for place, layer in enumerate(model.encoder.layer)}
        return {**layers, "layernorm": model.layernorm}

    def embedded(self, model: Any, batch: Float[Tensor, "n 3 h w"]) -> Tensor:
        return model.embeddings(batch)

    def run(self, part: Any, hidden: Tensor, batch: Float[Tensor, "n 3 h w"]) -> Tensor:
        given = part(hidden)
        return given[0] if isinstance(given, tuple) else given

    def rows(self, hidden: Tensor, batch: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "tokens n"]:
        return hidden.flatten(0, 1)
