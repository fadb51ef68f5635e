"""Replaces the parts of a page that a benchmark writes, each between two marks that name it and its command."""

from __future__ import annotations


def between(text: str, name: str, written: str, command: str) -> str:
    """The page with the text between the marks of a part replaced.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- {name}: written by `{command}` -->\n", f"<!-- end of {name} -->"
    before, mark, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (mark and closed):
        raise ValueError(f"the page has no marks for {name}")
    return f"{before}{begin}{written}{end}{after}"
