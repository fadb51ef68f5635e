"""Token ids of texts, truncated and padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError, in_one_line
from mergeometry.inputs import UnlabelledData


class Tokens:
    """The tokenizer of a model's folder, which truncates texts to ``longest`` tokens.

    ``module`` is the model; one with a table of positions takes no more tokens than that has rows.
    """

    def __init__(self, folder: Path, longest: int, module: nn.Module) -> None:
        transformers = import_transformers()
        with quiet_transformers():
            try:
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
            # transformers answers malformed files with errors of every kind.
            except Exception as error:
                raise DataError(
                    f"the base's tokenizer cannot be loaded: {in_one_line(error)}",
                    file=folder,
                    hint="texts need the tokenizer files next to the base's weights",
                ) from error
        files = {*getattr(self._tokenizer, "vocab_files_names", {}).values()}
        # Without these files, transformers builds a tokenizer that knows only a handful of special tokens.
        if files and not any((folder / name).is_file() for name in {*files, "tokenizer.json"}):
            raise DataError(
                f"the base's folder holds no tokenizer ({', '.join(sorted(files))})",
                file=folder,
                hint="texts need the tokenizer files next to the base's weights",
            )
        # A model may take fewer tokens than requested; some tokenizers say so, the others give 10^30.
        self.longest = min([longest, self._tokenizer.model_max_length, *_positions(module)])
        self.padding = self._tokenizer.pad_token_id or 0
        self.first: int | None = self._tokenizer.bos_token_id
        self.last: int | None = self._tokenizer.eos_token_id

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers."""
        return self._tokenizer

    def pieces(self, data: UnlabelledData, shortest: int = 1) -> list[list[int]]:
        """Token ids of each text; texts of fewer than ``shortest`` tokens are left out.

        Raises:
            DataError: the data are images, or no text is long enough.
        """
        if data.kind != "texts":
            raise DataError("the model reads texts, and the data are images", hint="encoder: {kind: image}")
        encoded = self._tokenizer([str(text) for text in data.items], truncation=True, max_length=self.longest)
        pieces = [numbers for numbers in encoded["input_ids"] if len(numbers) >= shortest]
        if not pieces:
            raise DataError(f"no text has at least {shortest} token{'s' if shortest > 1 else ''}")
        return pieces

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt: the token that begins a text, where there is one, and the prompt's own.

        Raises:
            DataError: the prompt has no token.
        """
        first = self._tokenizer.bos_token or ""
        numbers = self._tokenizer(first + text, add_special_tokens=False, truncation=True, max_length=self.longest)
        if not numbers["input_ids"]:
            raise DataError(f"the prompt {text!r} has no token")
        return list(numbers["input_ids"])

    def text(self, numbers: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return str(self._tokenizer.decode(list(numbers), skip_special_tokens=True))

    def padded(self, items: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "b s"], Int[Tensor, "b s"]]:
        """Token ids padded to the longest, and the mask of those that are not padding."""
        length = max(map(len, items))
        tokens = torch.full((len(items), length), self.padding)
        mask = torch.zeros(len(items), length, dtype=torch.long)
        for row, numbers in enumerate(items):
            tokens[row, : len(numbers)] = torch.tensor(numbers)
            mask[row, : len(numbers)] = 1
        return tokens, mask


def _positions(module: nn.Module) -> Iterator[int]:
    """How many tokens each table of positions has a row for.

    Tables of RoBERTa's kind begin after the row of padding, tables of BART's kind at an offset.
    """
    for name, table in module.named_modules():
        place = name.rpartition(".")[2]
        if isinstance(table, nn.Embedding) and ("position" in place or place == "wpe"):
            first = int(getattr(table, "offset", 0))
            yield table.num_embeddings - (first or (table.padding_idx + 1 if table.padding_idx is not None else 0))
