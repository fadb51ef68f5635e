"""Vision encoders: images in, one pooled feature per image out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.encoders.base import Batch, Encoder, Features, Inputs
from mergeometry.encoders.names import parameter_names
from mergeometry.encoders.pixels import Pixels
from mergeometry.encoders.reached import reached
from mergeometry.encoders.transformer import build
from mergeometry.errors import DataError
from mergeometry.sources import TensorInfo

_POOLINGS = ("first", "mean", "pooler")


class ImageEncoder(Encoder):
    """A vision model of transformers (ViT, DINOv2, ...), whose images the base's own processor prepares.

    The feature is the class token (``first``), the mean over the patches without class and register tokens
    (``mean``), or the model's own pooled output (``pooler``).
    """

    budget = 2048

    def __init__(self, folder: Path, disk: Mapping[str, TensorInfo], *, pooling: str, device: torch.device) -> None:
        if pooling not in _POOLINGS:
            raise DataError(
                f"images have no pooling {pooling!r}", hint=f"encoder: {{pooling: {' | '.join(_POOLINGS)}}}"
            )
        self.module = build("AutoModel", folder, disk, device)
        self._pooling, self._folder = pooling, folder
        self._pixels = Pixels(folder)
        blank = self._pixels.blank()
        leaves = {name: weight.detach().requires_grad_() for name, weight in self.module.named_parameters()}
        features, self._tokens = self._probe(leaves, blank)
        self.width = features.shape[1]
        run = reached(features, leaves)
        names = parameter_names(self.module, disk, leaves.keys() - run)
        self.names = {name: parameter if parameter in run else None for name, parameter in names.items()}

    def prepare(self, data: Any) -> Inputs:
        """Take a task's images by their paths; each is decoded when its batch is built."""
        if getattr(data, "kind", None) != "images":
            raise DataError("the model reads images, and the data are texts", hint="encoder: {kind: text}")
        count = len(data.items)
        return Inputs(data.items, (self._tokens,) * count, (1,) * count)

    def batch(self, items: Sequence[Any]) -> Batch:
        """Decode and prepare a few images."""
        return Batch({"pixel_values": self._pixels.of(items).to(self.device)}, (1,) * len(items))

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """One pooled feature per image."""
        output = torch.func.functional_call(module, dict(weights), kwargs=dict(batch.arguments))
        return self._pooled(output, batch.arguments["pixel_values"]).float()

    def _pooled(self, output: Any, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        if self._pooling == "pooler":
            pooler_output = getattr(output, "pooler_output", None)
            if pooler_output is None:
                raise self._cannot("it has no pooled output")
            return pooler_output.flatten(1)
        hidden = output.last_hidden_state
        if hidden.ndim != 3:
            raise self._cannot(f"its last hidden state has {hidden.ndim} dimensions, not tokens", "pooler")
        extra = hidden.shape[1] - self._patches(pixels)
        if self._pooling == "mean":
            return hidden[:, extra:].mean(dim=1)
        if extra == 0:
            raise self._cannot("it has no class token", "mean")
        return hidden[:, 0]

    def _patches(self, pixels: Float[Tensor, "b c h w"]) -> int:
        """How many of the tokens are patches; they come last, after class and register tokens."""
        side: Any = getattr(self.module.config, "patch_size", None)
        height, width = side if isinstance(side, (tuple, list)) else (side, side)
        if not (isinstance(height, int) and isinstance(width, int)):
            raise self._cannot("its config.json has no patch_size that tells patches from other tokens", "pooler")
        return (pixels.shape[2] // height) * (pixels.shape[3] // width)

    def _probe(self, leaves: Mapping[str, Tensor], blank: Tensor) -> tuple[Float[Tensor, "1 d"], int]:
        """Features of a blank image and the number of tokens per image; finds mismatches early."""
        pixels = blank.to(self.device)
        try:
            with torch.enable_grad():
                output = torch.func.functional_call(self.module, dict(leaves), kwargs={"pixel_values": pixels})
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            size = " x ".join(map(str, pixels.shape[2:]))
            raise DataError(
                f"the base does not run on images of {size} pixels: {reason}",
                file=self._folder,
                hint="its preprocessor_config.json must give the size that its config.json expects; "
                "for a model of images and texts, save the vision part alone",
            ) from error
        features, hidden = self._pooled(output, pixels), output.last_hidden_state
        tokens = hidden.shape[1] if hidden.ndim == 3 else hidden[0, 0].numel()
        if self._pooling != "pooler" and tokens < self._patches(pixels):
            raise self._cannot("it merges its patches into fewer tokens", "pooler")
        return features, tokens

    def _cannot(self, why: str, instead: str = "first | mean") -> DataError:
        return DataError(
            f"pooling {self._pooling!r} does not fit the model: {why}",
            file=self._folder,
            hint=f"encoder: {{pooling: {instead}}}",
        )
