"""The Python calls behind the command line; what needs torch is imported by the call that needs it."""

from mergeometry.api.conversion import extract, mixture, transplant
from mergeometry.api.keys import RecipeKeys
from mergeometry.api.measuring import compare, evaluate, inspect
from mergeometry.api.merging import make_plan, merge

__all__ = ["RecipeKeys", "compare", "evaluate", "extract", "inspect", "make_plan", "merge", "mixture", "transplant"]
