"""Reads what a command line says of its models: which arguments are models, and the weight of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergeometry.cli.show import wrong_usage
from mergeometry.hub_names import halves_of, hub_reference
from mergeometry.words import nearest


def has_recipes_name(given: str) -> bool:
    """Whether an argument is called as recipes are."""
    return Path(given).suffix.lower() in (".yaml", ".yml", ".json")


def is_recipe(given: str) -> bool:
    """Whether an argument names a recipe's file and not a model: a folder, a file of weights or a name on the hub."""
    place = Path(given)
    if has_recipes_name(given):
        return True
    if place.suffix.lower() in (".safetensors", ".gguf") or place.is_dir() or halves_of(given) is not None:
        return False
    return place.is_file() or hub_reference(given) is None


def weights_of(given: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """The keys of the models' weights, given in the models' order or by name."""
    named = {name: number for name, equals, number in (text.rpartition("=") for text in given) if equals}
    if not named:
        if len(given) != len(models):
            wrong_usage(
                f"--weight was given {len(given)} times for {len(models)} models ({', '.join(models)}): give one per "
                "model, in this order, or NAME=NUMBER"
            )
        return {f"models.{place}.weight": number for place, number in enumerate(given)}
    if len(named) < len(given):
        wrong_usage("--weight: give one number per model, or NAME=NUMBER, each name once")
    for name, number in named.items():
        if name not in models:
            wrong_usage(f"--weight {name}={number}: no model is named {name!r}{nearest(name, list(models))}")
    return {f"models.{models.index(name)}.weight": number for name, number in named.items()}
