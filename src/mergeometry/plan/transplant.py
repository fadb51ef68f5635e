"""Gives a model the tokens of another: rows of tokens that both have are copied, the others are combinations of rows.

| rule | the row of a token that the model lacks |
| --- | --- |
| `mean` | the mean of the rows of the tokens into which the model's own tokenizer splits its text |
| `nearest` | rows of common tokens that are nearest to it in the donor's table, in proportion to their cosines |
| `omp` | the combination of common tokens that orthogonal matching pursuit finds in the donor's table |
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.conventions.token_texts import roles_of, texts_of, without_prefix
from mergeometry.conventions.tokenizers import SETTINGS_FILE
from mergeometry.conventions.vocabularies import is_token_table
from mergeometry.deferred import Float, Int, Tensor, torch
from mergeometry.linalg.pursuit import matching_pursuit, nearest_points
from mergeometry.plan.tokenizers import tokenizer_of
from mergeometry.plan.vocabulary import Known
from mergeometry.recipe.tokenizer import TokenizerOptions
from mergeometry.sources import Adapter, Checkpoint, TensorReader, open_model
from mergeometry.words import install_extra

DONOR = "donor"
_FILE = "tokenizer.json"
_BLOCK = 512
"""Rows that are compared with all common ones at a time."""
_MOST_SHARES = 1 << 26
"""Shares of a mean of all rows up to which texts without a token get one."""


@dataclass(frozen=True, eq=False)
class Combined:
    """Rows that are sums of the base's rows, each times its share; ``targets`` ascend."""

    targets: Int[Tensor, " parts"]
    sources: Int[Tensor, " parts"]
    shares: Float[Tensor, " parts"]


def open_donor(options: TokenizerOptions) -> tuple[Checkpoint, Known]:
    """The model whose tokens the output gets, and its tokenizer.

    Raises:
        ValueError: it is an adapter, or has no tokenizer.json.
        SourceError: it cannot be read.
    """
    assert options.donor is not None
    donor = open_model(Path(options.donor), DONOR)
    tokenizer = tokenizer_of(donor)
    if isinstance(donor, Adapter) or tokenizer is None or not isinstance(tokenizer.parsed(_FILE), Mapping):
        raise ValueError(f"the donor {options.donor!r} must be a full model with a {_FILE} in its folder")
    return donor, Known(DONOR, tokenizer, tokenizer.tokens())


def same_tokens(known: Known, donor: Known) -> dict[str, int]:
    """The row that an input has for each of the donor's tokens that it has, whatever the two write for a space.

    A special token is the one of the same text, or else that of the same role.

    Raises:
        ValueError: the input has no tokenizer.json.
    """
    own, theirs = _content(known), _content(donor)
    rows: dict[bytes | str, int] = {}
    for token, text in texts_of(own, known.ids).items():
        rows.setdefault(text, known.ids[token])
    found = {token: rows[text] for token, text in texts_of(theirs, donor.ids).items() if text in rows}
    assert known.tokenizer is not None and donor.tokenizer is not None
    roles = roles_of(known.tokenizer.parsed(SETTINGS_FILE))
    for role, token in roles_of(donor.tokenizer.parsed(SETTINGS_FILE)).items():
        if token in donor.ids and roles.get(role) in known.ids:
            found.setdefault(token, known.ids[roles[role]])
    return found


def combined_rows(
    options: TokenizerOptions,
    base: Known,
    size: int,
    donor: Checkpoint,
    known: Known,
    common: Mapping[str, int],
    shared: Collection[str],
) -> Combined:
    """The rows of the donor's tokens that no input has (which are not ``shared``), from the base's ``size`` rows.

    ``common`` are the rows of those that the base has.

    Raises:
        ValueError: nothing is common, the donor's table is not found, or the package that splits texts is missing.
    """
    missing = sorted((token for token in known.ids if token not in shared), key=known.ids.__getitem__)
    if not common:
        raise ValueError("the model and the donor have no token in common")
    targets = torch.tensor([known.ids[token] for token in missing], dtype=torch.int64)
    if options.missing == "mean":
        return _means(targets, _splits(base, known, missing, size))
    tables = [info for name, info in donor.tensors.items() if is_token_table(name) and len(info.shape) == 2]
    if not tables:
        raise ValueError("the donor has no table of word embeddings that is known by its name")
    with TensorReader() as reader:
        table = reader.read(tables[0]).float()
    pairs = [(known.ids[token], row) for token, row in common.items() if known.ids[token] < len(table) and row < size]
    if not pairs:
        raise ValueError("the model and the donor have no token with a row in common")
    places, rows = torch.tensor(pairs, dtype=torch.int64).T
    points = table[places]
    find = nearest_points if options.missing == "nearest" else matching_pursuit
    # A token without a row in the donor has nothing to be near to: its row is the mean of the common ones.
    beyond = targets >= len(table)
    vectors = table[targets.where(~beyond, 0)]
    vectors[beyond] = points.mean(0)
    found = [
        find(vectors[start : start + _BLOCK], points, options.neighbours) for start in range(0, len(targets), _BLOCK)
    ]
    if not found:
        return Combined(targets, targets, targets.double())
    chosen, shares = (torch.cat(one) for one in zip(*found, strict=True))
    return Combined(targets.repeat_interleave(chosen.shape[1]), rows[chosen].flatten(), shares.double().flatten())


def _means(targets: Tensor, splits: Sequence[Sequence[int]]) -> Combined:
    counts = torch.tensor([len(rows) for rows in splits], dtype=torch.int64)
    sources = torch.tensor([row for rows in splits for row in rows], dtype=torch.int64)
    return Combined(targets.repeat_interleave(counts), sources, (1 / counts.double()).repeat_interleave(counts))


def _splits(base: Known, donor: Known, tokens: Sequence[str], size: int) -> list[list[int]]:
    """The base's rows for the text of each token; for bytes that are no text, those of its single bytes."""
    try:
        import tokenizers  # noqa: PLC0415  (an extra: only this rule splits texts)
    except ImportError as error:
        raise ValueError(f"the rule `mean` splits texts, which needs tokenizers: {install_extra('adapt')}") from error
    content = _content(base)
    # Rust reads the file, which is the library's own form.
    splitter = tokenizers.Tokenizer.from_str(json.dumps(without_prefix(content)))
    known = texts_of(content, base.ids)
    single = {text: base.ids[token] for token, text in known.items() if isinstance(text, bytes) and len(text) == 1}
    texts = texts_of(_content(donor), {token: donor.ids[token] for token in tokens})
    words = [_decoded(texts[token]) for token in tokens]
    pieces = splitter.encode_batch([word or "" for word in words], add_special_tokens=False)
    splits = []
    for token, word, piece in zip(tokens, words, pieces, strict=True):
        alone = [bytes([byte]) for byte in texts[token]] if word is None else []  # pyright: ignore
        rows = piece.ids if word is not None else [single[byte] for byte in alone if byte in single]
        splits.append([row for row in rows if row < size])
    lost = [token for token, rows in zip(tokens, splits, strict=True) if not rows]
    if len(lost) * size > _MOST_SHARES:
        raise ValueError(
            f"{len(lost)} of the donor's tokens, such as {lost[0]!r}, stand for nothing that the model's tokenizer "
            "splits: take the rule `nearest`"
        )
    return [rows or list(range(size)) for rows in splits]


def _decoded(text: bytes | str) -> str | None:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _content(known: Known) -> dict[str, Any]:
    content = known.tokenizer.parsed(_FILE) if known.tokenizer is not None else None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{known.label} has no {_FILE}, by which its tokens could be compared")
    return content
