"""What all drivers do: ``python DRIVER make FOLDER`` and ``python DRIVER check FOLDER``.

``make`` writes FOLDER/CASE/base and the fine-tunes FOLDER/CASE/one and FOLDER/CASE/two. ``check`` loads these and
FOLDER/CASE/merged, runs them on the same inputs, and prints how far the merge is from the mean of the live models.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TUNED = ("one", "two")


def moved(model: Any, seed: int, size: float = 0.05) -> Any:
    """A fine-tune of the model: a copy whose parameters lie a little elsewhere."""
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            step = torch.randn(parameter.shape, generator=generator)
            parameter.add_(size * parameter.abs().mean().clamp(min=0.01) * step)
    return tuned


def family(model: Any) -> dict[str, Any]:
    """A base and two fine-tunes of it."""
    return {"base": model, **{name: moved(model, seed) for seed, name in enumerate(TUNED, 1)}}


def mean_of(models: list[Any]) -> Any:
    """A live model whose every weight is the mean of theirs."""
    states = [model.state_dict() for model in models]
    mean = {}
    for name, value in states[0].items():
        values = [state[name] for state in states]
        mean[name] = torch.stack(values).mean(dim=0) if value.is_floating_point() else value
    model = copy.deepcopy(models[0])
    model.load_state_dict(mean)
    return model


def compared(run: Callable[[Any], Tensor], merged: Any, tuned: list[Any]) -> dict[str, float]:
    """The merge's outputs against those of the mean of the live models, and against those of each, relative to them."""
    for model in (merged, *tuned):
        model.eval()
    with torch.no_grad():
        expected = run(mean_of(tuned).eval()).double()
        found, others = run(merged).double(), [run(model).double() for model in tuned]
    size = float(expected.norm())
    apart = min(float((found - other).norm()) / size for other in others)
    return {"error": float((found - expected).norm()) / size, "apart": apart, "size": size}


def main(make: Mapping[str, Callable[[Path], None]], check: Callable[[str, Path], dict[str, float]]) -> None:
    """Run the command that was asked for; the last line of output is JSON."""
    warnings.simplefilter("ignore")
    command, folder, *names = sys.argv[1:]
    torch.set_num_threads(1)
    results = {}
    for name in names or make:
        torch.manual_seed(0)
        place = Path(folder) / name
        if command == "make":
            make[name](place)
            results[name] = {}
        else:
            results[name] = check(name, place)
    print(json.dumps(results))
