"""The union of vocabularies in a `tokenizer.json`, where it has one meaning, and tokens that are added to one.

What the loader of tokenizers does with the file decides what can be written: an added token that the model's own
vocabulary lacks gets the next free id, whatever id the file gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""An added token that is ordinary text."""

Content = dict[str, Any]


def united(contents: Sequence[tuple[str, Content]]) -> Content:
    """The tokenizer that has the tokens of all, each a label and its parsed `tokenizer.json`, the base's first.

    Ids of the first stay. The others' tokens follow, first those of their models' own vocabularies, then added ones.

    Raises:
        ValueError: no tokenizer splits texts as these do; the message says which two and why.
    """
    (first, base), *others = contents
    result = base
    for label, other in others:
        result = _with_model(first, result, label, other)
    added = {entry["content"]: entry for _, other in reversed(contents) for entry in _added(other)}
    ordered = dict.fromkeys(entry["content"] for _, other in contents for entry in _added(other))
    return _checked(_with_added(result, [added[token] for token in ordered]))


def with_tokens(content: Content, tokens: Sequence[str]) -> Content:
    """The tokenizer with more tokens, which are found in a text before it is split.

    Raises:
        ValueError: the file's ids leave no room for more.
    """
    return _checked(_with_added(content, [{"content": token, **_PLAIN} for token in tokens])) if tokens else content


def ids_of(content: Content) -> dict[str, int]:
    """The id that each token has once the file is loaded."""
    ids = _vocabulary(content)
    free = len(ids)
    for entry in _added(content):
        if entry["content"] not in ids:
            ids[entry["content"]] = free
            free += 1
    return ids


def added_entries(content: Content) -> dict[str, dict[str, Any]]:
    """The added tokens as `added_tokens_decoder` of a `tokenizer_config.json` has them: by id."""
    return {str(entry["id"]): {k: v for k, v in entry.items() if k != "id"} for entry in _added(content)}


def _with_model(first: str, result: Content, label: str, other: Content) -> Content:
    """Take the tokens of another model's own vocabulary."""
    kinds = _kind(result), _kind(other)
    if kinds[0] != kinds[1]:
        raise ValueError(f"{first} splits texts by {kinds[0]}, {label} by {kinds[1]}")
    known, added = ids_of(result), {entry["content"] for entry in _added(other)}
    new = [token for token in _ordered(other) if token not in known and token not in added]
    if kinds[0] == "Unigram":
        scores, theirs = dict(_pieces(result)), dict(_pieces(other))
        if new or any(theirs.get(piece, score) != score for piece, score in scores.items()):
            raise ValueError(f"{first} and {label} choose among pieces by different scores, which do not compare")
        return result
    merges = None
    if kinds[0] == "BPE":
        ours, theirs = _merges(result), _merges(other)
        shared = min(len(ours), len(theirs))
        if ours[:shared] != theirs[:shared]:
            raise ValueError(f"{first} and {label} merge letters in different orders, so that no order serves both")
        merges = other["model"]["merges"] if len(theirs) > len(ours) else None
    if not new and merges is None:
        return result
    vocabulary = dict(known)  # added tokens too: their ids lie before those of the new ones
    start = max(known.values(), default=-1) + 1
    vocabulary |= {token: start + place for place, token in enumerate(new)}
    model = {**result["model"], "vocab": vocabulary if new else result["model"]["vocab"]}
    if merges is not None:
        model["merges"] = merges
    return {**result, "model": model}


def _with_added(content: Content, entries: Sequence[Mapping[str, Any]]) -> Content:
    """The tokenizer with these added tokens, those that it has no id for after all others."""
    ids = ids_of(content)
    added = {entry["content"]: entry for entry in _added(content)}
    free = max(ids.values(), default=-1) + 1
    for entry in entries:
        token = entry["content"]
        if token not in added:
            added[token] = {"id": ids.get(token, free), **{key: value for key, value in entry.items() if key != "id"}}
            free += token not in ids
    return {**content, "added_tokens": sorted(added.values(), key=lambda one: one["id"])}


def _checked(content: Content) -> Content:
    """Refuse a file whose added tokens would get other ids than it gives them."""
    loaded = ids_of(content)
    for entry in _added(content):
        if loaded[entry["content"]] != entry["id"]:
            raise ValueError(
                f"token {entry['content']!r} has the id {entry['id']}, and a loader would give it "
                f"{loaded[entry['content']]}: the ids have a hole"
            )
    return content


def _vocabulary(content: Content) -> dict[str, int]:
    vocabulary = content["model"].get("vocab") or {}
    if isinstance(vocabulary, list):
        return {piece: row for row, (piece, _) in enumerate(vocabulary)}
    return dict(vocabulary)


def _ordered(content: Content) -> list[str]:
    vocabulary = _vocabulary(content)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _pieces(content: Content) -> Iterator[tuple[str, float]]:
    yield from (tuple(piece) for piece in content["model"]["vocab"])


def _added(content: Content) -> list[dict[str, Any]]:
    return sorted(content.get("added_tokens") or (), key=lambda entry: entry["id"])


def _kind(content: Content) -> str:
    model = content["model"]
    return str(model.get("type") or ("BPE" if "merges" in model else "WordPiece"))


def _merges(content: Content) -> list[str]:
    merges = content["model"].get("merges") or ()
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
