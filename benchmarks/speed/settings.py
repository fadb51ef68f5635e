"""How much is measured, and where the files go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.measure import Case, program, run_once, say
from benchmarks.speed.sizes import TINY, VIT_B, Size


@dataclass(frozen=True)
class Settings:
    """The size of the models, runs of each command, and the folders for models and outputs and for results."""

    work: Path
    results: Path
    quick: bool = False
    repeats: int = 3
    slow_repeats: int = 3
    """Runs of commands that take minutes."""

    @property
    def size(self) -> Size:
        return TINY if self.quick else VIT_B

    @property
    def workers(self) -> Sequence[int]:
        return (1,) if self.quick else (1, 2)

    def methods(self, *names: str) -> Sequence[str]:
        """All of them, or the first for a quick look."""
        return names[:1] if self.quick else names

    def models(self) -> tuple[Path, list[Path], list[Path]]:
        """The base, its full fine-tunes and its adapters, written once."""
        folder = self.work / self.size.name.lower()
        finished = folder / "finished"
        if not finished.exists():
            say(f"writing models of the size {self.size.name}")
            run_once(Case("models", program("synthetic", self.size.name, folder)), self.work)
            finished.touch()
        tasks = range(self.size.tasks)
        return folder / "base", [folder / f"task{t}" for t in tasks], [folder / f"adapter{t}" for t in tasks]

    def describe(self) -> dict[str, object]:
        """The settings as the results record them."""
        size = self.size
        return {
            "size": size.name,
            "tasks": size.tasks,
            "matrices": len(list(size.matrices())),
            "parameters": size.parameters,
            "adapter_rank": size.adapter_rank,
            "quick": self.quick,
        }


def goal(text: str, figure: float, limit: float, unit: str = "x", *, at_least: bool) -> dict[str, object]:
    """A figure with its goal."""
    met = figure >= limit if at_least else figure <= limit
    return {"goal": text, "figure": figure, "limit": limit, "unit": unit, "at_least": at_least, "met": met}
