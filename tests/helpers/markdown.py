"""What a page says in figures, whatever the words around them."""

from __future__ import annotations

import re

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


def figures(text: str) -> list[float]:
    """Every number that stands by itself, in order."""
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line of every table, heads and rules among them."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
