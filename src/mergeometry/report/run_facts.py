"""What a run record says of a merge, as lines for people; a field that is missing or odd is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergeometry.words import brief, counted

Line = tuple[str, str]
"""A term and its text."""

_MOST_NAMES = 6
_MOST_MATCHES = 12
"""Different ways in which models' names were matched that are told."""
_MOST_TENSORS = 400
"""Tensors that are listed; mergeometry.json lists every one."""


def headline(document: Mapping[str, Any]) -> list[Line]:
    """The few facts that a reader looks for first."""
    record, held = document["record"], [own["share_held"] for own in document["totals"]["models"]]
    known = [share for share in held if share is not None]
    methods = [str(method["name"]) for method in record["methods"]]
    return [
        ("Merged by", _few(methods)),
        ("Models", f"{len(document['models'])}"),
        ("Held of each", _range(known) if known else "not measured"),
        ("Tensors", f"{len(record['tensors']):,}"),
        ("Took", _seconds(_mapping(record, "totals").get("seconds")) or "–"),
        ("Weights", str(record.get("digest") or "–").rpartition(":")[2][:10]),
    ]


def _range(shares: Sequence[float]) -> str:
    least, most = f"{min(shares):.2f}", f"{max(shares):.2f}"
    return least if least == most else f"{least} to {most}"


def run_facts(record: Mapping[str, Any]) -> list[Line]:
    """Hashes, bytes, seconds, memory, workers and versions."""
    return [(term, text) for term, text in _run_facts(record) if text]


def _run_facts(record: Mapping[str, Any]) -> Iterator[Line]:
    totals = _mapping(record, "totals")
    yield "Weights", str(record.get("digest") or "")
    yield "Recipe and inputs", str(record.get("fingerprint") or "")
    yield "Written", f"{counted(len(record['tensors']), 'tensor')}, {_size(totals.get('bytes_written'))}"
    yield "Read", _size(totals.get("bytes_read"))
    yield "Took", _seconds(totals.get("seconds"))
    stages = _mapping(_mapping(record, "timings"), "stages")
    yield "By stage", ", ".join(f"{name} {_seconds(_mapping(stages, name).get('seconds'))}" for name in stages)
    yield "Peak memory", _size(totals.get("peak_memory"))
    workers = _mapping(_mapping(record, "decisions"), "workers")
    if workers:
        yield "Workers", f"{workers.get('chosen')} ({workers.get('reason')})"
    parameters = _mapping(record, "parameters")
    yield (
        "Parameters",
        ", ".join(f"{count:,} {name}" for name, count in parameters.items() if isinstance(count, int) and count),
    )
    scaling = _mapping(record, "scaling")
    if scaling:
        ends = ", ".join(f"{name} {_number(scaling.get(name))}" for name in ("least", "median", "largest"))
        yield "Scales", f"by the rule {scaling.get('rule')}, one per {scaling.get('per')}: {ends}"
    yield "Versions", ", ".join(f"{name} {text}" for name, text in _mapping(record, "versions").items())


def decisions(record: Mapping[str, Any]) -> list[Line]:
    """What the run chose by itself about names, ties, tokenizers and files."""
    return [(term, text) for term, text in _decisions(record) if text]


def _decisions(record: Mapping[str, Any]) -> Iterator[Line]:
    chosen = _mapping(record, "decisions")
    # What was decided of several models alike is said once.
    alike: dict[str, list[str]] = {}
    for label, match in _mapping(chosen, "names").items():
        alike.setdefault("; ".join(_names(match)) if isinstance(match, Mapping) else "", []).append(label)
    for text, labels in list(alike.items())[:_MOST_MATCHES]:
        yield f"Names of {_few(labels)}", text
    if beyond := [label for labels in list(alike.values())[_MOST_MATCHES:] for label in labels]:
        yield f"Names of {_few(beyond)}", "in mergeometry.json"
    ties = _mapping(chosen, "ties")
    copies = _mapping(ties, "copies")
    yield "Ties", "; ".join([
        *(f"{copy} is {original}" for copy, original in list(copies.items())[:_MOST_NAMES]),
        *(["the halves of a tied table disagree: they are written apart"] if ties.get("untied") else []),
    ])  # fmt: skip
    for kind, giver in _mapping(chosen, "files").items():
        yield _FILES.get(kind, kind), f"from {brief(str(giver))}"
    tokens = _mapping(chosen, "tokens")
    if tokens:
        yield "Tokens", "one vocabulary made of several; files written: " + _few(tokens.get("files"))
    yield "Routes", ", ".join(f"{count} {name}" for name, count in _mapping(chosen, "routes").items())
    files = _mapping(record, "sidecars")
    yield "Files copied", _few([_copied(one) for one in files.get("copied", ()) if isinstance(one, Mapping)])
    left_out = [one for one in files.get("left_out", ()) if isinstance(one, Mapping)]
    yield "Files left out", _few([f"{one.get('name')} ({one.get('reason')})" for one in left_out])


_FILES = {"tokenizer": "Tokenizer", "chat_template": "Chat template", "config": "Configuration"}


def _names(match: Mapping[str, Any]) -> Iterator[str]:
    yield f"{match.get('paired')} paired by {match.get('by')}"
    prefix = _mapping(match, "prefix")
    if prefix:
        yield " and ".join(f"without the {side}'s prefix {brief(str(text))!r}" for side, text in prefix.items() if text)
    for key, words in (("heads", "kept as heads"), ("missing", "only in the base"), ("extra", "only in the model")):
        if names := match.get(key):
            yield f"{words}: {_few(names)}"


def learning_facts(record: Mapping[str, Any]) -> list[Line]:
    """What was learned, from how much, and what it reached."""
    adapt = _mapping(record, "adapt")
    held_out = _mapping(adapt, "held_out")
    data = [one.get("items") for one in adapt.get("data", ()) if isinstance(one, Mapping)]
    per, rotation = adapt.get("coefficients"), adapt.get("rotation")
    reached = f"{_number(held_out.get('start'))} before, {_number(held_out.get('kept'))} as kept" if held_out else ""
    lines = [
        ("Objective", str(adapt.get("objective") or "")),
        ("Learned", f"{_number(adapt.get('learned_numbers'))} coefficients, one per {per}; rotation {rotation}"),
        ("Steps", f"{_number(adapt.get('steps'))}, of which step {_number(adapt.get('kept_step'))} was kept"),
        ("Held-out objective", reached),
        ("Agreement with the experts", _agreement(_mapping(adapt, "agreement"))),
        ("Unlabelled inputs", ", ".join(map(str, data))),
        ("Took", _seconds(adapt.get("seconds"))),
    ]
    return [(term, text) for term, text in lines if text] if adapt else []


def slowest(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tensors that were written, the slowest first, as many as a page lists."""
    tensors = [one for one in record["tensors"] if isinstance(one, Mapping)]
    return sorted(tensors, key=lambda one: -float(one["seconds"]))[:_MOST_TENSORS]


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _agreement(shares: Mapping[str, Any]) -> str:
    """Per cent before and as kept, task by task."""
    each = {task: one for task, one in shares.items() if isinstance(one, Mapping)}
    return ", ".join(
        f"{task}: {_per_cent(one.get('start'))} before, {_per_cent(one.get('kept'))} as kept"
        for task, one in each.items()
    )


def _per_cent(share: Any) -> str:
    return f"{100 * share:.1f} %" if isinstance(share, int | float) else "unknown"


def _copied(file: Mapping[str, Any]) -> str:
    changes = [str(change) for change in file.get("changes", ())]
    return f"{file.get('name')} ({', '.join(changes)})" if changes else str(file.get("name"))


def _few(names: Any) -> str:
    shown = [brief(str(name)) for name in names] if isinstance(names, list | tuple) else []
    more = f" and {len(shown) - _MOST_NAMES:,} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else "–"


def _size(count: Any) -> str:
    if not isinstance(count, int | float) or not 0 <= count < 1 << 63:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
