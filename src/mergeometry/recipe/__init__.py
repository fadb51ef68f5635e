"""What users write: a recipe and its sections, strict YAML behind them."""

from mergeometry.recipe.recipe import LEARNING_STARTS_AT, AdapterOutput, MethodChoice, ModelEntry, Recipe, load_recipe

__all__ = ["LEARNING_STARTS_AT", "AdapterOutput", "MethodChoice", "ModelEntry", "Recipe", "load_recipe"]
