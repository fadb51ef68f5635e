"""Where learning computes: the CPU or a GPU, by the name that the command line takes."""

from __future__ import annotations

import torch

from mergeometry.errors import RecipeError


def chosen_device(name: str) -> torch.device:
    """The device of ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``.

    Raises:
        RecipeError: the name is another, or there is no such GPU.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if there else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not (number.isascii() and number.isdigit())):
        raise RecipeError(f"there is no device {name!r}", hint="auto, cpu, cuda, or cuda:1 for the second GPU")
    if not there:
        raise RecipeError(
            f"--device {name}: PyTorch finds no GPU here",
            hint="--device cpu learns without one; `python -m torch.utils.collect_env` says what PyTorch was built for",
        )
    index = int(number or 0)
    if index >= there:
        raise RecipeError(f"--device {name}: there are {there} GPUs, the last is cuda:{there - 1}")
    return torch.device("cuda", index)
