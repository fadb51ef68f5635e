"""Token numbers of texts, cut and padded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError
from mergeometry.inputs import UnlabelledData


class Tokens:
    """The tokenizer of a model's folder, cutting texts at ``longest`` tokens."""

    def __init__(self, folder: Path, longest: int) -> None:
        transformers = import_transformers()
        with quiet_transformers():
            try:
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except (OSError, ValueError, KeyError) as error:
                raise DataError(
                    f"the base's tokenizer cannot be loaded: {error}",
                    file=folder,
                    hint="texts need the tokenizer files beside the base's weights",
                ) from error
        files = {*getattr(self._tokenizer, "vocab_files_names", {}).values()}
        # Without its files, transformers makes a tokenizer that knows a handful of special tokens.
        if files and not any((folder / name).is_file() for name in {*files, "tokenizer.json"}):
            raise DataError(
                f"the base's folder holds no tokenizer ({', '.join(sorted(files))})",
                file=folder,
                hint="texts need the tokenizer files beside the base's weights",
            )
        # A model may be shorter than what is asked for; some tokenizers say so, the others give 10^30.
        self.longest = min(longest, self._tokenizer.model_max_length)
        self.padding = self._tokenizer.pad_token_id or 0

    def pieces(self, data: UnlabelledData, shortest: int = 1) -> list[list[int]]:
        """Token numbers of each text; texts of fewer than ``shortest`` tokens are left out.

        Raises:
            DataError: the data are images, or no text is long enough.
        """
        if data.kind != "texts":
            raise DataError("The model reads texts, and the data are images.", hint="encoder: {kind: image}")
        found = self._tokenizer([str(text) for text in data.items], truncation=True, max_length=self.longest)
        pieces = [numbers for numbers in found["input_ids"] if len(numbers) >= shortest]
        if not pieces:
            raise DataError(f"No text has {shortest} tokens.")
        return pieces

    def padded(self, items: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "b s"], Int[Tensor, "b s"]]:
        """Token numbers padded to the longest, and the mask of those that are no padding."""
        length = max(map(len, items))
        tokens = torch.full((len(items), length), self.padding)
        mask = torch.zeros(len(items), length, dtype=torch.long)
        for row, numbers in enumerate(items):
            tokens[row, : len(numbers)] = torch.tensor(numbers)
            mask[row, : len(numbers)] = 1
        return tokens, mask
