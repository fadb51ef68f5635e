"""Compares two runs: what changed in the recipe, the inputs, the tensors, and the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.digests import algorithm_of
from mergeometry.dtypes import FLOATING
from mergeometry.errors import SourceError
from mergeometry.inspection.kept_scores import scores_of
from mergeometry.inspection.result import finite
from mergeometry.linalg.inner import inner
from mergeometry.regular_files import read_regular
from mergeometry.sink import RunRecord, read_record
from mergeometry.sink.target import record_path
from mergeometry.sources import Checkpoint, TensorReader, open_model

SCHEMA = 1
SCORES = "comparison.json"
"""What `mergeometry compare` writes into its folder."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs; None where one of the two does not have it."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor of other bytes; ``distance`` is ``||A - B|| / ||B||``, None where it cannot be measured."""

    name: str
    why: str
    distance: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two runs; empty where they are the same."""

    recipe: tuple[Change, ...]
    inputs: tuple[Change, ...]
    versions: tuple[Change, ...]
    same: int
    """Tensors of the same bytes."""
    tensors: tuple[TensorChange, ...]
    scores: tuple[Change, ...]
    distance: float | None
    """``||A - B|| / ||B||`` over all tensors that both have, where both weights are there."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return finite({"schema": SCHEMA, **asdict(self)})


def difference(first: Path, second: Path, progress: Callable[[str, int, int], None] | None = None) -> Difference:
    """Compare two outputs of merges, or two folders of comparisons.

    Raises:
        SourceError: one of them is neither, or they are not of one kind.
    """
    scored = [(folder / SCORES).is_file() for folder in (first, second)]
    if all(scored) and not any(record_path(folder).is_file() for folder in (first, second)):
        scores = tuple(_changes(*(dict(_scores(folder)) for folder in (first, second))))
        return Difference((), (), (), 0, (), scores, None)
    if any(scored) and not all(scored):
        raise SourceError("one is a comparison and the other a merge", file=first if scored[0] else second)
    one, other = read_record(first), read_record(second)
    tensors, distance, notes = _tensors((first, one), (second, other), progress)
    names = {tensor.name for tensor in one.tensors} & {tensor.name for tensor in other.tensors}
    return Difference(
        recipe=tuple(_changes(dict(_flat(one.recipe)), dict(_flat(other.recipe)))),
        inputs=_other_inputs(one, other),
        versions=tuple(_changes(one.versions, other.versions)),
        same=len(names) - sum(tensor.name in names for tensor in tensors),
        tensors=tensors,
        scores=tuple(_changes(scores_of(first, one.digest), scores_of(second, other.digest))),
        distance=distance,
        notes=(*notes, *_notes_on_digests(one, other)),
    )


def _changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield Change(key, first.get(key), second.get(key))


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no other, under its dotted key; models under their names."""
    if isinstance(value, Mapping) and value:
        for name, own in value.items():
            yield from _flat(own, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and value:
        for place, own in enumerate(value):
            name = own.get("name", place) if isinstance(own, Mapping) else place
            yield from _flat(own, f"{key}.{name}")
    else:
        yield key, value


def _inputs(record: RunRecord) -> dict[str, str]:
    return {one.label if one.role != "base" else "base": one.digest or "not read" for one in record.inputs}


def _other_inputs(first: RunRecord, second: RunRecord) -> tuple[Change, ...]:
    """The inputs that differ; those whose digests are by two algorithms cannot be told apart, and are left out."""
    changes = _changes(_inputs(first), _inputs(second))
    return tuple(one for one in changes if not _by_two_algorithms(one.first or "", one.second or ""))


def _notes_on_digests(first: RunRecord, second: RunRecord) -> tuple[str, ...]:
    if not _by_two_algorithms(first.digest, second.digest):
        return ()
    both = f"{algorithm_of(first.digest)} and {algorithm_of(second.digest)}"
    return (f"the two runs hashed by {both}: inputs are not compared, tensors by their values alone",)


def _by_two_algorithms(one: str, other: str) -> bool:
    algorithms = {algorithm_of(one), algorithm_of(other)}
    return len(algorithms) == 2 and None not in algorithms


def _tensors(
    first: tuple[Path, RunRecord], second: tuple[Path, RunRecord], progress: Callable[[str, int, int], None] | None
) -> tuple[tuple[TensorChange, ...], float | None, tuple[str, ...]]:
    one, other = ({tensor.name: tensor for tensor in record.tensors} for _, record in (first, second))
    distances, notes = _distances(first[0], second[0], progress)
    changes = []
    for name in dict.fromkeys([*one, *other]):
        mine, theirs = one.get(name), other.get(name)
        if mine is None or theirs is None:
            changes.append(TensorChange(name, f"only in the {'second' if mine is None else 'first'}", None))
        elif mine.digest != theirs.digest:
            facts = (("shape", mine.shape, theirs.shape), ("dtype", mine.dtype, theirs.dtype))
            facts += (("method", mine.method, theirs.method), ("scale", mine.scale, theirs.scale))
            why = ", ".join(f"{what} {a} and {b}" for what, a, b in facts if a != b) or "other values"
            own = distances.get(name)
            if _by_two_algorithms(mine.digest, theirs.digest):
                if own is not None and own[0] == 0.0:
                    continue
                why = why if own is not None else "hashed by two algorithms"
            changes.append(TensorChange(name, why, None if own is None else _ratio(*own)))
    whole = [math.fsum(own[place] for own in distances.values()) for place in (0, 1)]
    return tuple(changes), _ratio(whole[0], whole[1]) if distances else None, notes


def _distances(
    first: Path, second: Path, progress: Callable[[str, int, int], None] | None
) -> tuple[dict[str, tuple[float, float]], tuple[str, ...]]:
    """``||A - B||^2`` and ``||B||^2`` of every tensor that both outputs hold in one shape."""
    try:
        one, other = open_model(first, "first"), open_model(second, "second")
    except SourceError as error:
        return {}, (f"the weights cannot be compared: {error.what}",)
    if not (isinstance(one, Checkpoint) and isinstance(other, Checkpoint)):
        return {}, ("adapters are compared by their hashes alone",)
    distances = {}
    shared = [name for name, info in one.tensors.items() if name in other.tensors and info.code in FLOATING]
    with TensorReader() as reader:
        for place, name in enumerate(shared, 1):
            mine, theirs = one.tensors[name], other.tensors[name]
            if mine.shape == theirs.shape:
                values, reference = reader.read(mine).float(), reader.read(theirs).float()
                values -= reference
                distances[name] = inner(values, values), inner(reference, reference)
            if progress is not None:
                progress(name, place, len(shared))
    return distances, ()


def _ratio(squared: float, reference: float) -> float | None:
    return math.sqrt(squared / reference) if reference > 0 else None


def _scores(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every method's gain kept, mean and scale; a malformed file is an error."""
    path = folder / SCORES
    try:
        content = json.loads(read_regular(path, limits.SIDECAR_BYTES))
        for row in content["rows"]:
            yield f"{row['name']}: gain kept", row["at_best"]["gain_kept"]
            yield f"{row['name']}: mean {content['measure']}", row["at_best"]["mean"]
            yield f"{row['name']}: scale", row["best_scale"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError("the comparison cannot be read", file=path) from error
