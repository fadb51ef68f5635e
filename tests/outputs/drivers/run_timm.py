"""Vision models of timm, as ``save_for_hf`` writes them and ``create_model("local-dir:...")`` loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpu_torchvision  # noqa: F401
import timm
import torch
from comparing import TUNED, compared, family, main
from timm.models import save_for_hf
from torch import Tensor

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}),
    "resnet": ("resnet10t", {"channels": (8, 8, 16, 16)}),
}
SIDE = 32


def maker(architecture: str, given: dict[str, Any]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        model = timm.create_model(architecture, num_classes=5, **given)
        for name, each in family(model).items():
            save_for_hf(each, place / name, model_args=given, safe_serialization=True)

    return make


def check(_name: str, place: Path) -> dict[str, float]:
    merged, *tuned = (timm.create_model(f"local-dir:{place / name}", pretrained=True) for name in ("merged", *TUNED))
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def run(model: Any) -> Tensor:
        return model(images)

    return compared(run, merged, tuned)


if __name__ == "__main__":
    main({name: maker(*each) for name, each in SMALL.items()}, check)
