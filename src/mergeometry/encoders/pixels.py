"""Images in the form a vision model takes: decoded from their files, then prepared by the model's own processor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry import limits
from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError
from mergeometry.inputs.depth import to_rgb
from mergeometry.inputs.extras import optional
from mergeometry.inputs.images import FORMATS
from mergeometry.inputs.lines import opened


class Pixels:
    """The image processor of a model's folder, in the variant that needs Pillow alone."""

    def __init__(self, folder: Path) -> None:
        self._image: Any = optional("PIL.Image", "adapt", "reading images")
        self._turn: Any = optional("PIL.ImageOps", "adapt", "reading images").exif_transpose
        self._folder = folder
        transformers = import_transformers()
        with quiet_transformers():
            try:
                # transformers 5 calls this variant `backend="pil"`, and still takes the older name.
                self._processor: Any = transformers.AutoImageProcessor.from_pretrained(
                    folder, local_files_only=True, use_fast=False, trust_remote_code=False
                )
            # transformers answers malformed files with errors of every kind.
            except Exception as error:
                raise DataError(
                    f"the base's image processor cannot be loaded: {' '.join(str(error).split())[:300]}",
                    file=folder,
                    hint="images need the base's preprocessor_config.json with its sizes, mean and standard deviation",
                ) from error

    def of(self, images: Sequence[Path | bytes]) -> Float[Tensor, "b c h w"]:
        """Decode and prepare a few images, given by their paths or as the bytes of their files.

        Raises:
            DataError: an image is damaged, too large or of an unknown format, or sizes differ after preparation.
            SourceError: a file cannot be opened.
        """
        return self.prepared([self._decoded(image) for image in images])

    def blank(self) -> Float[Tensor, "1 c h w"]:
        """A black image of an arbitrary size, prepared."""
        return self.prepared([self._image.new("RGB", (96, 64))])

    def prepared(self, images: Sequence[Any]) -> Float[Tensor, "b c h w"]:
        """Prepare images with the model's processor, which brings all of them to one size.

        Raises:
            DataError: the processor refuses an image, or leaves images of different sizes.
        """
        try:
            tensors = [self._processor(images=image, return_tensors="pt")["pixel_values"][0] for image in images]
            return torch.stack(tensors)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise DataError(
                f"the base's image processor cannot prepare the images: {' '.join(str(error).split())[:300]}",
                file=self._folder,
                hint="its preprocessor_config.json must bring every image to one size",
            ) from error

    def _decoded(self, given: Path | bytes) -> Any:
        content, path = (given, None) if isinstance(given, bytes) else (_read(given), given)
        try:
            with warnings.catch_warnings():
                # Pillow warns about images of very many pixels; our own limit decides.
                warnings.simplefilter("ignore")
                image = self._image.open(BytesIO(content), formats=FORMATS)
                pixels = image.size[0] * image.size[1]
                if pixels <= limits.IMAGE_PIXELS:
                    return to_rgb(self._turn(image), self._image)
        # For damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error and more.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"the image cannot be decoded: {reason}", file=path) from error
        raise DataError(f"the image has {pixels:,} pixels; the limit is {limits.IMAGE_PIXELS:,}", file=path)


def _read(path: Path) -> bytes:
    with opened(path, limits.IMAGE_BYTES) as file:
        return file.read()
