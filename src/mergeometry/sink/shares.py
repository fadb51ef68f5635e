"""How much of a model the method itself merged, in words."""

from __future__ import annotations

from collections.abc import Mapping

_PARTS = {
    "method": "{method} merges {share} of the parameters",
    "other": "the method for other tensors (`other`) {share}",
    "rules": "the methods of `tensors:` rules {share}",
    "copied": "{share} are copied from the base",
}


def shares_in_words(parameters: Mapping[str, int], method: str) -> str:
    """One sentence on the counts of parameters that `Shares` holds."""
    whole = sum(parameters.values())
    shown = [
        words.format(method=method, share=_percent(parameters.get(part, 0), whole))
        for part, words in _PARTS.items()
        if part == "method" or parameters.get(part)
    ]
    return ", ".join(shown)


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "less than 0.1 %"
    # Never rounded up to all of it.
    return "100 %" if part == whole else f"{min(share, 99.9):.1f} %"
