"""Which model's tokenizer, template and configuration the output gets, and how a user says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """One key of a recipe that names the base or a model, and what it names, if anything."""

    key: str
    name: str | None

    def ways(self, label: str) -> str:
        """What to write to keep the base's files or to take the model's."""
        all_tokens = "`tokenizer: union` (the tokens of all), " if self.key == "tokenizer" else ""
        named = f"`{self.key}: base` or `{self.key}: {label}`, or --set {self.key}=base"
        return f"choose whose the output gets: {all_tokens}{named}"

    def sorted_in(self, differences: Sequence[str], reasons: list[str], notes: list[str]) -> None:
        """Add the differences to the notes if the user has chosen, else to the reasons to refuse the merge."""
        if self.name is None:
            reasons.extend(differences)
        else:
            taken = {"base": "the base's", "union": "those of all", "donor": "the donor's"}.get(
                self.name, f"those of {self.name}"
            )
            notes.extend(f"{text.partition('; choose whose')[0]}; the output gets {taken}" for text in differences)
