"""What a comparison has found out already, kept on disk as soon as it is known: by method, scale and split."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mergeometry
from mergeometry.activations.run import identity_of
from mergeometry.comparison.scoring import Scored
from mergeometry.comparison.setup import TEST, Setup
from mergeometry.comparison.store import Store
from mergeometry.execution.finish import safe_name
from mergeometry.execution.run import fingerprint
from mergeometry.plan.tasks import Plan, tensors_of
from mergeometry.scaling import Statistics
from mergeometry.sink import versions
from mergeometry.sources import Adapter, Checkpoint

_SCORED_BY = (
    "values.py", "dtypes.py", "linalg/*.py", "sources/*.py", "plan/*.py", "execution/*.py", "methods/families/*.py",
    "refinements/base.py", "encoders/*.py", "inputs/*.py",
    "comparison/scorer.py", "comparison/merging.py", "comparison/scoring.py",
    "comparison/scratch.py",
)  # fmt: skip
"""Files of this package that a score depends on, whatever its method."""

_INFORMED_BY = ("activations/*.py", "execution/moments.py", "recipe/data.py")
"""Files that a merge by activations depends on as well."""


class ResultCache:
    """Scores by key; a key changes with all that the score depends on, so that nothing stale is ever read.

    Another list of methods or scales goes on with what the two have in common.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        base = _stamps(setup.plans[0].base)
        self.identity = _digest([_code(), versions(), setup.digest, base])
        self._store = Store(folder, self.identity)
        self._entries = [
            f"{safe_name(entry.name)}-{_digest([fingerprint(plan, _inputs(setup, plan)), _methods(plan)])[:16]}"
            for entry, plan in zip(setup.entries, setup.plans, strict=True)
        ]
        self._models = [
            f"expert-{safe_name(model.label)}-{_digest(_stamps(model))[:16]}" for model in setup.plans[0].models
        ]
        self._known: dict[str, Any] = {}

    def base(self, split: str) -> str:
        """Key of the base on a split."""
        return f"base-{split}"

    def expert(self, model: int, split: str) -> str:
        """Key of an expert on its own task."""
        return f"{self._models[model]}-{split}"

    def point(self, entry: int, scale: float, split: str) -> str:
        """Key of a method at a scale."""
        return f"{self._entries[entry]}-{split}-{scale:.10g}"

    def ruled(self, entry: int, at: float | Mapping[str, float]) -> str:
        """Key of the test of a method at a rule's scales."""
        if not isinstance(at, Mapping):
            return self.point(entry, at, TEST)
        return f"{self._entries[entry]}-{TEST}-{_digest({name: f'{scale:.10g}' for name, scale in at.items()})[:16]}"

    def statistics(self, entry: int, needs: Sequence[str]) -> str:
        """Key of what rules for the scale are told of a method's merges."""
        code = _file(Path(mergeometry.__file__).parent / "refinements" / "svc.py") if "svc" in needs else ""
        return f"{self._entries[entry]}-statistics-{_digest([*needs, code])[:16]}"

    def measured(self, entry: int, needs: Sequence[str]) -> dict[str, tuple[bool, Statistics]]:
        """What is known of a method's merges, by tensor: whether it is a matrix, and its statistics."""
        kept = self.value(self.statistics(entry, needs))
        return {name: (matrix, Statistics.from_json(own)) for name, (matrix, own) in kept.items()}

    def merging(self, entry: int) -> str:
        """Key of what merging by a method took."""
        return f"{self._entries[entry]}-merging"

    def has(self, key: str) -> bool:
        """Whether the result is known, from this run or an earlier one."""
        if key not in self._known and (kept := self._store.read(key)) is not None:
            self._known[key] = kept
        return key in self._known

    def scored(self, key: str) -> Scored:
        """A score that is known."""
        assert self.has(key)
        return Scored.from_json(self._known[key])

    def value(self, key: str) -> Any:
        """Another result that is known."""
        assert self.has(key)
        return self._known[key]

    def keep(self, key: str, value: Any) -> None:
        """Keep a result."""
        self._known[key] = value
        self._store.write(key, value)


def _inputs(setup: Setup, plan: Plan) -> str:
    """What a merge by activations depends on beside the models: their inputs, and the code that runs them."""
    if plan.recipe.data is None:
        return ""
    package = Path(mergeometry.__file__).parent
    code = [_file(file) for part in _INFORMED_BY for file in sorted(package.glob(part))]
    return _digest([identity_of(setup.unlabelled), code])


def _stamps(model: Checkpoint | Adapter) -> list[Any]:
    return sorted({(str(info.file), *info.stamp) for info in tensors_of(model)})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _methods(plan: Plan) -> list[str]:
    """Digests of the files of all methods and refinements that a plan uses: editing one leaves the others' scores."""
    kinds = {type(task.method) for task in plan.tasks if task.method is not None}
    kinds |= {type(step) for task in plan.tasks for _, step in task.refinements}
    return sorted({_file(Path(inspect.getfile(kind))) for kind in kinds})


@cache
def _code() -> str:
    """Digest of the code that every score goes through."""
    package = Path(mergeometry.__file__).parent
    files = [file for part in _SCORED_BY for file in sorted(package.glob(part))]
    return _digest([_file(file) for file in files])


@cache
def _file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
