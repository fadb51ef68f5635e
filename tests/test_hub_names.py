"""What a path tells of a model's name on the hub."""

from __future__ import annotations

import pytest

from mergeometry.hub_names import cached_name, folder_name
from mergeometry.recipe import load_recipe

CACHE = "/root/.cache/huggingface/hub"


@pytest.mark.parametrize(
    ("path", "cached", "folder"),
    [
        (f"{CACHE}/models--openai--clip-vit/snapshots/3d74ac", "openai/clip-vit", "clip-vit"),
        (f"{CACHE}/models--a--b--c/snapshots/3d74ac/sub", "a/b--c", "b--c"),
        (f"{CACHE}/models--gpt2/snapshots/3d74ac", "gpt2", "gpt2"),
        (f"{CACHE}/models--a--b/blobs/3d74ac", None, "3d74ac"),
        ("models/mine", None, "mine"),
        ("", None, ""),
    ],
)
def test_a_snapshot_is_called_by_its_repository(path: str, cached: str | None, folder: str) -> None:
    assert (cached_name(path), folder_name(path)) == (cached, folder)


def test_models_of_a_recipe_are_too() -> None:
    paths = [f"{CACHE}/models--org--first/snapshots/ab", f"{CACHE}/models--org--second/snapshots/cd"]
    recipe = load_recipe({"base": "base", "models": paths, "method": "average"})
    assert [model.name for model in recipe.models] == ["first", "second"]
