"""Results of a comparison, kept on disk as soon as they are known: by method, scale and split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergeometry.activations.summary import identity_of
from mergeometry.code_digest import CodeDigest
from mergeometry.comparison.read_inputs import TEST
from mergeometry.comparison.scoring import Scored
from mergeometry.comparison.setup import Setup
from mergeometry.comparison.store import Store
from mergeometry.execution.head_files import safe_name
from mergeometry.execution.identity import fingerprint
from mergeometry.plan.fishers import ready_made
from mergeometry.plan.plan import Plan, tensors_of
from mergeometry.scaling import Statistics
from mergeometry.sink import versions
from mergeometry.sources import Adapter, Checkpoint

_SCORED_BY = ("mergeometry.comparison.scoring", "mergeometry.comparison.merging")
"""Modules that every score depends on, whatever its method."""

_ATTACHED_BY = ("mergeometry.comparison.attach_moments",)
"""Modules that a merge by activations depends on as well."""

_MEASURED_BY = {"svc": "mergeometry.refinements.svc", "layers": "mergeometry.linalg.layer_proxies"}
"""Modules that scale rules' needs look up by name."""


class ResultCache:
    """Scores by key; a key changes with everything that the score depends on, so that nothing stale is ever read.

    A comparison with other methods or scales reuses the scores that the two have in common.
    """

    def __init__(self, setup: Setup, folder: Path, code: CodeDigest | None = None) -> None:
        base = _stamps(setup.plans[0].base)
        self._code = CodeDigest.of_installed("mergeometry") if code is None else code
        elsewhere = [] if setup.device == "cpu" else [setup.device.partition(":")[0]]
        self.identity = _digest([self._code.of(_SCORED_BY), versions(), setup.digest, base, *elsewhere])
        self._store = Store(folder, self.identity)
        self._entries = [
            f"{safe_name(entry.name)}-{self._merged_by(setup, plan)[:16]}"
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
        """Key of the statistics of a method's merges that scale rules need."""
        code = self._code.of(_MEASURED_BY[need] for need in needs if need in _MEASURED_BY)
        return f"{self._entries[entry]}-statistics-{_digest([*needs, code])[:16]}"

    def measured(self, entry: int, needs: Sequence[str]) -> dict[str, tuple[bool, Statistics]]:
        """Statistics of a method's merges by tensor, each with whether the tensor is a matrix."""
        kept = self.value(self.statistics(entry, needs))
        return {name: (matrix, Statistics.from_json(given)) for name, (matrix, given) in kept.items()}

    def merging(self, entry: int) -> str:
        """Key of the seconds and notes of merging by a method."""
        return f"{self._entries[entry]}-merging"

    def has(self, key: str) -> bool:
        """Whether the result is known, from this run or an earlier one."""
        if key not in self._known and (kept := self._store.read(key)) is not None:
            self._known[key] = kept
        return key in self._known

    def scored(self, key: str) -> Scored:
        """A score that `has` reports as known."""
        assert self.has(key)
        return Scored.from_json(self._known[key])

    def value(self, key: str) -> Any:
        """Any other result that `has` reports as known."""
        assert self.has(key)
        return self._known[key]

    def keep(self, key: str, value: Any) -> None:
        """Keep a result."""
        self._known[key] = value
        self._store.write(key, value)

    def _merged_by(self, setup: Setup, plan: Plan) -> str:
        """Digest of the plan and of the code of its methods and refinements: editing one leaves other scores valid.

        A merge by activations or Fisher information also depends on the models' inputs and on the code that runs the
        models.
        """
        kinds = {type(task.method) for task in plan.tasks if task.method is not None}
        kinds |= {type(step) for task in plan.tasks for _, step in task.refinements}
        inputs = "" if plan.recipe.data is None else self._collected_by(setup, plan)
        return _digest([fingerprint(plan, inputs), self._code.of_classes(kinds)])

    def _collected_by(self, setup: Setup, plan: Plan) -> str:
        """Digest of all that what is collected before a merge depends on."""
        fishers = sorted(
            (str(one.file), *one.stamp) for infos in ready_made(plan)[0].values() for one in infos.values()
        )
        return _digest([identity_of(setup.unlabelled), fishers, self._code.of(_ATTACHED_BY)])


def _stamps(model: Checkpoint | Adapter) -> list[Any]:
    return sorted({(str(info.file), *info.stamp) for info in tensors_of(model)})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
