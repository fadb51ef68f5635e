"""mergekit's recipes: read as they are, and translated to ours."""

from mergeometry.recipe.mergekit.lines import Lines, lines_of
from mergeometry.recipe.mergekit.translate import Translation, is_mergekit, translate

__all__ = ["Lines", "Translation", "is_mergekit", "lines_of", "translate"]
