"""Recipes that mean something else than they seem to, or too much."""

from __future__ import annotations

import json

from tests.helpers.hostile.trick import Setting, trick

RECIPE = "recipe.yaml"


def _write(setting: Setting, extra: str) -> None:
    path = setting.model.parent / RECIPE
    lines = [f"{key}: {json.dumps(value)}" for key, value in setting.recipe.items()]
    path.write_text("\n".join([*lines, extra]) + "\n")
    setting.recipe["file"] = path


@trick("duplicate key", file=RECIPE)
def duplicate_key(setting: Setting) -> None:
    """A key twice."""
    _write(setting, "scale: 1.0\nscale: 2.0")


@trick("scal", file=RECIPE)
def misspelt_key(setting: Setting) -> None:
    """A misspelt key, which a lenient reader ignores."""
    _write(setting, "scal: 0.5")


@trick("must not use YAML aliases", file=RECIPE)
def laughing_aliases(setting: Setting) -> None:
    """Aliases of aliases that unfold to a billion texts."""
    bomb = ["seed: 0", "x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    bomb += [f"x{number}: &x{number} [{', '.join([f'*x{number - 1}'] * 9)}]" for number in range(1, 10)]
    _write(setting, "\n".join(bomb))


@trick("must not use YAML tags", file=RECIPE)
def python_object(setting: Setting) -> None:
    """A tag that has PyYAML call a function."""
    _write(setting, f'seed: !!python/object/apply:os.system ["touch {setting.canary}"]')


@trick("layer.7", file="")
def rule_for_nothing(setting: Setting) -> None:
    """A rule whose pattern matches nothing, so that the tensor it was meant for goes another way."""
    setting.recipe["tensors"] = [{"match": "layer.7.*", "scale": 0.0}]


@trick("larger than", file=RECIPE)
def endless_recipe(setting: Setting) -> None:
    """A recipe of a gigabyte, sparse on the disk."""
    _write(setting, "")
    with (setting.model.parent / RECIPE).open("r+b") as file:
        file.truncate(1 << 30)
