"""What users write: a recipe and its sections, strict YAML behind them."""

from mergeometry.recipe.adapter_output import AdapterOutput
from mergeometry.recipe.load import load_recipe
from mergeometry.recipe.parts import MethodChoice, ModelEntry
from mergeometry.recipe.recipe import AUTO_HEADS, AUTO_METHOD, LEARNING_STARTS_AT, Recipe
from mergeometry.recipe.residuals import ResidualOutput

__all__ = [
    "AUTO_HEADS",
    "AUTO_METHOD",
    "LEARNING_STARTS_AT",
    "AdapterOutput",
    "MethodChoice",
    "ModelEntry",
    "Recipe",
    "ResidualOutput",
    "load_recipe",
]
