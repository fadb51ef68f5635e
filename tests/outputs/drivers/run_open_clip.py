"""A small CLIP of open_clip, in the files of its hub models, which ``create_model_from_pretrained`` loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cpu_torchvision  # noqa: F401
import open_clip
import torch
from comparing import TUNED, compared, family, main
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from torch import Tensor

SIDE, WORDS = 32, 64
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": WORDS, "width": 32, "heads": 2, "layers": 2},
}


def make(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "small.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(place / "small.json")
    model = open_clip.create_model("small")
    for name, each in family(model).items():
        # As `save_for_hf`, which asks for a tokenizer with files; open_clip's own has none.
        (place / name).mkdir()
        save_file(each.state_dict(), place / name / "open_clip_model.safetensors")
        save_config_for_hf(each, place / name / "open_clip_config.json", CONFIG)


def check(_name: str, place: Path) -> dict[str, float]:
    merged, *tuned = (
        open_clip.create_model_from_pretrained(f"local-dir:{place / name}", return_transform=False)
        for name in ("merged", *TUNED)
    )
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 3, SIDE, SIDE, generator=generator), torch.arange(3, 27).reshape(2, 12)

    def run(model: Any) -> Tensor:
        return torch.cat([model.encode_image(images), model.encode_text(texts)])

    return compared(run, merged, tuned)


if __name__ == "__main__":
    main({"clip": make}, check)
