"""Hostile files, one per trick: each is made by one small function, whose docstring says what it tries.

``python -m tests.helpers.hostile`` tries them all and prints what each costs.
"""

from tests.helpers.hostile import adapters, bombs, configurations, headers, indexes, paths, pickles, recipes
from tests.helpers.hostile.trick import TRICKS, Setting, Trick, Tried, tried

__all__ = [
    "TRICKS",
    "Setting",
    "Trick",
    "Tried",
    "adapters",
    "bombs",
    "configurations",
    "headers",
    "indexes",
    "paths",
    "pickles",
    "recipes",
    "tried",
]
