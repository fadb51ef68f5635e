"""One training step of a task's rotation: learned in the subspace that its target moves, against all of SO(d)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.measure import median, printed_json, program, say
from benchmarks.speed.settings import Settings
from mergeometry.learning.losses import alignment, class_means
from mergeometry.learning.prototypes import head_prototypes
from mergeometry.learning.rotation import FullRotation, SubspaceRotation, TaskRotation
from mergeometry.linalg.rotations import closest_rotation, span_basis

TITLE = "Rotations: the subspace that a target moves against all of SO(d)"
FORMS = ("subspace", "full", "whole")
BATCH = 64


def run(settings: Settings) -> dict[str, Any]:
    sizes, classes = ((32,), (2,)) if settings.quick else ((384, 768, 4096), (2, 20, 100))
    found = []
    for d in sizes:
        for count in classes:
            # The plain formula's cost hardly depends on the classes, and is minutes at the largest d.
            forms = FORMS if count == classes[len(classes) // 2] else FORMS[:2]
            runs: dict[str, list[Any]] = {form: [] for form in forms}
            for _ in range(settings.slow_repeats if d >= 4096 else settings.repeats):
                for form in forms:  # in turn, so that a busy moment strikes all alike
                    runs[form].append(printed_json(program("rotations", form, str(d), str(count))))
                    say(f"  {form}, d = {d}, C = {count}: {1e3 * median(runs[form][-1]['step_s']):.2f} ms per step")
            found += [_row(form, d, count, several) for form, several in runs.items()]
    return {"steps": found, "goals": []}


def _row(form: str, d: int, classes: int, runs: list[Any]) -> dict[str, Any]:
    steps = [seconds for run in runs for seconds in run["step_s"]]
    return {
        "form": form,
        "d": d,
        "classes": classes,
        "learned": runs[0]["learned"],
        "steps": len(steps),
        "step_s": median(steps),
        "step_range_s": [min(steps), max(steps)],
        "peak_bytes": median(run["peak_bytes"] for run in runs),
        "target_error": max(run["target_error"] for run in runs),
    }


def main() -> None:
    form, d, classes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warming = Training(form, 16, 2)
    warming.begin()
    warming.step()  # loads what torch loads late
    training = Training(form, d, classes)
    before = _peak_from_here()
    training.begin()
    first = training.step()  # makes Adam's state
    seconds = [training.step() for _ in range(max(1, min(30, int(3 / first))))] if first < 60 else [first]
    peak = _status("VmHWM") - before
    learned = sum(parameter.numel() for parameter in training.rotation.parameters())
    error = training.error_of_target()
    print(json.dumps({"step_s": seconds, "peak_bytes": peak, "learned": learned, "target_error": error}))


class Training:
    """Random features of a random head; a step does what learning does, except for the encoder."""

    def __init__(self, form: str, d: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.form, self.d, self.classes = form, d, classes
        head = torch.randn(classes, d, generator=generator)
        drawn = head[torch.arange(BATCH) % classes] + torch.randn(BATCH, d, generator=generator)
        self.features = torch.nn.functional.normalize(drawn, dim=1)
        self.predicted = (self.features @ head.mT).argmax(dim=1)
        self.prototypes = head_prototypes(head).vectors
        self.means = torch.nn.functional.normalize(head.mT + torch.randn(d, classes, generator=generator), dim=0)
        self.basis = span_basis(torch.cat([self.prototypes, self.means], dim=1))

    def begin(self) -> None:
        self.rotation: TaskRotation = SubspaceRotation(self.basis) if self.form == "subspace" else FullRotation(self.d)
        self.optimiser = torch.optim.Adam(self.rotation.parameters(), lr=1e-3)

    def target(self, means: torch.Tensor) -> torch.Tensor:
        if self.form == "whole":
            return closest_rotation(self.prototypes @ means.double().mT)
        return self.rotation.target(self.prototypes, means)

    def step(self) -> float:
        started = time.perf_counter()
        self.optimiser.zero_grad()
        with self.rotation.held():
            rotated = self.rotation(self.features)
            means, _ = class_means(self.features, self.predicted, self.classes)
            distance = self.rotation.distance(self.target(means))
            loss = 0.8 * alignment(rotated, self.predicted, self.prototypes) + 0.2 * distance
            loss.backward()
        self.optimiser.step()
        return time.perf_counter() - started

    def error_of_target(self) -> float:
        """Relative distance to the target that the subspace's decomposition gives."""
        identity = torch.eye(self.basis.shape[1], dtype=torch.float64)
        inner = closest_rotation((self.basis.mT @ self.prototypes) @ (self.basis.mT @ self.means.double()).mT)
        reference = self.basis @ (inner - identity) @ self.basis.mT
        reference.diagonal().add_(1)
        found = self.target(self.means)
        if self.form == "subspace":
            found = torch.eye(self.d).double() + self.basis @ (found - identity) @ self.basis.mT
        return float((found - reference).norm() / reference.norm())


def _peak_from_here() -> int:
    """Reset the peak, and return the resident size now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
