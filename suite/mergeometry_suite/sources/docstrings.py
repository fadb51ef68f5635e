"""What the functions and classes of a library of mathematics say they do, by the part of it that they stand in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from mergeometry_suite.packages import SYMPY, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

# The subpackages with 100 such texts or more, but for those on no subject of their own (core, utilities, and the like).
CLASSES = (
    "polys",
    "physics",
    "combinatorics",
    "matrices",
    "functions",
    "solvers",
    "geometry",
    "integrals",
    "stats",
    "printing",
    "simplify",
    "ntheory",
    "plotting",
    "tensor",
    "logic",
    "series",
    "vector",
    "sets",
)
_MOST = 230
_FEWEST_WORDS = 4
_BREAK = re.compile(r"\n\s*\n")


def load() -> Splits:
    """Split by class or function at the top of a file, so that the methods of one class stay together."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    root = fetch(SYMPY) / "sympy"
    for label, part in enumerate(CLASSES):
        for path in sorted((root / part).rglob("*.py")):
            place = path.relative_to(root)
            if "tests" in place.parts:
                continue
            # Read, never run.
            for top in ast.parse(path.read_text("utf-8")).body:
                for node in ast.walk(top):
                    if isinstance(node, ast.FunctionDef | ast.ClassDef):
                        # The first paragraph says what it is for; the others are mostly formulas and examples.
                        words = _BREAK.split(ast.get_docstring(node) or "")[0].split()
                        if len(words) >= _FEWEST_WORDS:
                            yield Example(" ".join(words), label, document=f"{place}:{getattr(top, 'name', '')}")
