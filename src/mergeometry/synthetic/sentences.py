"""Sentences that belong to no task: the documentation of Python's own standard library, read where it is installed."""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from mergeometry.encoders.batches import generator
from mergeometry.errors import DataError

LEAST_WORDS = 5
"""Shorter pieces are headings and names."""

_END = re.compile(r"(?<=[.!?:])\s+|\n\s*\n")
_LEAST = 1_000


@cache
def public_sentences() -> tuple[str, ...]:
    """Every sentence of the documentation of the standard library's modules, classes and functions, once, in order.

    The sources are parsed and not run. They differ between versions of Python, so a record has the hash of what was
    drawn.

    Raises:
        DataError: this Python comes without the sources of its library.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    found = {
        " ".join(piece.split())
        for file in sorted(folder.glob("*.py"))
        for text in _documentation(file)
        for piece in _END.split(text)
    }
    sentences = tuple(sorted(sentence for sentence in found if len(sentence.split()) >= LEAST_WORDS))
    if len(sentences) < _LEAST:
        raise DataError(
            "this Python comes without the sources of its standard library, whose documentation inputs are drawn from",
            file=folder, hint="give every task data: a file, a folder or a data set",
        )  # fmt: skip
    return sentences


def sentences(count: int, *seed: object) -> list[str]:
    """So many of the public sentences, or all where there are fewer, in an order that the seed decides."""
    known = public_sentences()
    order = torch.randperm(len(known), generator=generator("sentences", *seed))
    return [known[place] for place in order[:count].tolist()]


def _documentation(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # a module that this Python cannot read has no documentation for it either
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
