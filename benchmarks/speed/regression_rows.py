"""The commands that `make bench-quick` measures, each with its reference."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.measure import Case, merge_command, program, relative, run_once, say
from benchmarks.speed.sizes import MINILM, SMALL_VIT, Size
from benchmarks.studies.output_hashes import recipes
from benchmarks.studies.small_encoders import write_bert


@dataclass(frozen=True)
class Row:
    """A command of ours, and what it is measured against."""

    ours: Case
    reference: Case
    size: Size | None = None
    """Of the models that both read, where they read any."""

    @property
    def name(self) -> str:
        """The name of our command."""
        return self.ours.name

    @property
    def ratio(self) -> float:
        """Our processor seconds over the reference's."""
        return self.seconds(self.ours) / self.seconds(self.reference)

    @staticmethod
    def seconds(case: Case) -> float:
        """User and system seconds of the run that took least."""
        return min(run["user_s"] + run["system_s"] for run in case.runs)


def rows(work: Path) -> list[Row]:
    """Every row; its models are written by `write_models`."""
    sums, small = _models(MINILM, work), _models(SMALL_VIT, work)
    base, tasks, adapters = small
    torch = Case("import torch", [sys.executable, "-c", "import torch"])
    bert = "import torch; from transformers.models.bert import modeling_bert"
    command = [sys.executable, "-m", "mergeometry"]
    plan = [*command, "plan", "--base", relative(base), "--method", "average"]
    for model in tasks:
        plan += ["--model", relative(model)]
    found = [
        Row(Case("help", [*command, "--help"]), torch),
        Row(Case("plan", plan), torch, SMALL_VIT),
        Row(_ours("small merge", work, base, tasks[:2], "average"), torch, SMALL_VIT),
    ]
    for method in ("average", "ties"):
        found.append(_against_plain(f"{method} of 4 models", work, method, MINILM, sums[0], sums[1][:4]))
    for method in ("tsv_m", "dc_merge"):
        found.append(_against_plain(f"{method} of full models", work, method, SMALL_VIT, base, tasks))
    of_adapters = "dc_merge", SMALL_VIT, base, adapters, "output.adapter=true"
    found.append(_against_plain("dc_merge of adapters", work, *of_adapters))
    found.append(Row(_learning(work), Case("import transformers' BERT", [sys.executable, "-c", bert])))
    return found


def write_models(chosen: Sequence[Row], work: Path) -> None:
    """Write the models that the rows read, once."""
    for size in {row.size.name: row.size for row in chosen if row.size is not None}.values():
        folder = work / size.name.lower()
        if not (folder / "finished").exists():
            say(f"writing models of the size {size.name}")
            run_once(Case("models", program("synthetic", size.name, folder)), work)
            (folder / "finished").touch()


def _against_plain(
    name: str, work: Path, method: str, size: Size, base: Path, models: Sequence[Path], *settings: str
) -> Row:
    """A merge against a straightforward program of the same merge, which neither checks nor hashes."""
    output = work / "out-plain"
    plain = program("full_svd", "--method", method, "--output", output, "--base", base, *models)
    return Row(_ours(name, work, base, models, method, *settings), Case(f"{name}, plain", plain, output), size)


def _ours(name: str, work: Path, base: Path, models: Sequence[Path], method: str, *settings: str) -> Case:
    output = work / "out-ours"
    return Case(name, merge_command(base, models, method, output, workers=1, settings=settings), output)


def _learning(work: Path) -> Case:
    """Merging coefficients and rotations of a tiny BERT, learned in six steps."""
    folder, output = work / "learning", work / "out-ours"
    if not (folder / "recipe.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_bert(folder)
        (folder / "recipe.yaml").write_text(json.dumps(recipes(folder)["learned"]))  # JSON is YAML
    command = [sys.executable, "-m", "mergeometry", "merge", relative(folder / "recipe.yaml"), "--output"]
    return Case("learning", [*command, relative(output), "--no-report", "--json", "--workers", "1"], output)


def _models(size: Size, work: Path) -> tuple[Path, list[Path], list[Path]]:
    folder, tasks = work / size.name.lower(), range(size.tasks)
    return folder / "base", [folder / f"task{t}" for t in tasks], [folder / f"adapter{t}" for t in tasks]
