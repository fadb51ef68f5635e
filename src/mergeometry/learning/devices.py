"""The device that learning runs on, the CPU or a GPU, by the name that the command line takes."""

from __future__ import annotations

import torch

from mergeometry.errors import RecipeError


def chosen_device(name: str) -> torch.device:
    """The device of ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``.

    Raises:
        RecipeError: the name is unknown, or there is no such GPU.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if gpus else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not (number.isascii() and number.isdigit())):
        raise RecipeError(f"there is no device {name!r}", hint="use auto, cpu, cuda, or cuda:1 for the second GPU")
    if not gpus:
        raise RecipeError(
            f"--device {name}: PyTorch finds no GPU here",
            hint="--device cpu learns without one; python -m torch.utils.collect_env shows what PyTorch was built for",
        )
    index = int(number or 0)
    if index >= gpus:
        raise RecipeError(f"--device {name}: there are {gpus} GPUs, the last is cuda:{gpus - 1}")
    return torch.device("cuda", index)
