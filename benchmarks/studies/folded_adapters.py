"""Can adapters that were folded into the weights be told from full fine-tunes, in each dtype that people save?

``python -m benchmarks.studies.folded_adapters`` judges every expert in the cache as `method: auto` does, and made
updates of known rank, and writes two tables of docs/which-method.md. It needs trained experts: docs/suites.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from mergeometry.plan.low_rank import LEADING, Ballot, Verdict, judge
from mergeometry.plan.sample import block_of, block_of_update, sampled
from mergeometry.sources import AdapterDelta, Checkpoint, TensorInfo, TensorReader, open_model
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import SHIPPED as TEXTS
from mergeometry_suite.habits import HABITS, PLAIN, habit_folder
from mergeometry_suite.language_model.backbone import language_backbone
from mergeometry_suite.language_model.experts import SHIPPED as DOMAINS
from mergeometry_suite.vision.backbone import vision_backbone
from mergeometry_suite.vision.experts import SHIPPED as IMAGES
from mergeometry_suite.vision.experts import full_vision_folder

COMMAND = "python -m benchmarks.studies.folded_adapters"
RESULT, PAGE = ROOT / "benchmarks" / "results" / "folded_adapters.json", ROOT / "docs" / "which-method.md"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
RANKS, SIZES, DRAWS, SIDE = (4, 16, 64, 128), (0.003, 0.01, 0.03), 4, 512
"""Of made updates: ranks, norms over the norm of the weights, how many of each, rows and columns."""


@dataclass(frozen=True)
class Family:
    """Experts of one base; those of full fine-tunes are updates as they are, adapters are folded here."""

    title: str
    adapters: bool
    base: Path
    folders: Sequence[Path]


def families() -> Iterator[Family]:
    """Every kind of expert that there is."""
    text, images = backbone(), vision_backbone()
    for habit, how in HABITS.items():
        seeds = (0, 1, 2) if habit == PLAIN else (0,)
        folders = [place for seed in seeds for place in _experts(habit_folder(habit, seed))]
        title = f"texts, {how.title}" if habit == "folded" else f"texts, full fine-tunes, {how.title}"
        yield Family(title, habit == "folded", text, folders)
    full = [place for seed in (0, 1, 2) for place in _experts(full_vision_folder(seed))]
    yield Family("images, full fine-tunes", False, images, full)
    yield Family("texts, LoRA adapters of rank 16, folded here", True, text, _experts(TEXTS))
    yield Family("images, LoRA adapters of rank 16, folded here", True, images, _experts(IMAGES))
    yield Family("a language model, LoRA adapters of rank 8, folded here", True, language_backbone(), _experts(DOMAINS))


def _experts(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob("*/provenance.json"))


def judge_family(family: Family, dtype: torch.dtype) -> dict[str, Any]:
    """How many of a family are found to be folded, what their matrices say, and the tails of their updates."""
    base = open_model(family.base, "base")
    assert isinstance(base, Checkpoint)
    verdicts, tails, ranks = list[Verdict | None](), list[float](), list[int]()
    with TensorReader() as reader:
        for folder in family.folders:
            ballot = Ballot([0])
            for name, (source,) in sampled(base, [open_model(folder, folder.name)]):
                start = block_of(reader, base.tensors[name])
                if isinstance(source, AdapterDelta):
                    update = block_of_update(reader, source)
                else:
                    assert isinstance(source, TensorInfo)
                    update = block_of(reader, source) - start
                rounded = start.to(dtype).float()
                verdicts.append(judge(rounded, (rounded.double() + update).to(dtype).float()))
                ballot.cast(0, verdicts[-1])
                if verdicts[-1] is not None:
                    tails.append(tail_of(update))
            if ballot.rank is not None:
                ranks.append(ballot.rank)
    return {
        "models": len(family.folders), "folded": len(ranks), "ranks": sorted(set(ranks)), "matrices": counts(verdicts),
        "tail": [min(tails), max(tails)],
    }  # fmt: skip


def counts(verdicts: Sequence[Verdict | None]) -> dict[str, int]:
    """How many say that an update is of low rank, that it is not, and nothing."""
    low = sum(one is not None and one.low for one in verdicts)
    silent = verdicts.count(None)
    return {"low": low, "full": len(verdicts) - low - silent, "silent": silent}


def tail_of(update: Float[Tensor, "m n"]) -> float:
    """The share of an update's energy beyond the leading quarter of its directions, in float64."""
    energies = torch.linalg.svdvals(update.double()).square()
    return float(energies[min(update.shape) // LEADING :].sum() / energies.sum())


def judge_made(rank: int, size: float, dtype: torch.dtype) -> dict[str, Any]:
    """What made folds of a rank are taken for."""
    found = []
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        base = (0.02 * torch.randn(SIDE, SIDE, generator=generator)).to(dtype)
        update = torch.randn(SIDE, rank, generator=generator) @ torch.randn(rank, SIDE, generator=generator)
        update *= size * float(base.float().norm() / update.norm())
        found.append(judge(base.float(), (base.double() + update).to(dtype).float()))
    return {**counts(found), "ranks": sorted({one.rank for one in found if one is not None and one.low})}


def main() -> None:
    """Judge, keep the result, and write the tables."""
    result: dict[str, Any] = {**circumstances(), "families": [], "made": []}
    for family in families():
        if not family.folders:
            say(f"{family.title}: none is trained")
            continue
        found = {name: judge_family(family, dtype) for name, dtype in DTYPES.items()}
        result["families"].append({"title": family.title, "adapters": family.adapters, "found": found})
        say(f"{family.title}: " + ", ".join(f"{name} {one['folded']}/{one['models']}" for name, one in found.items()))
    for rank in RANKS:
        for size in SIZES:
            found = {name: judge_made(rank, size, dtype) for name, dtype in DTYPES.items()}
            result["made"].append({"rank": rank, "size": size, "found": found})
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), result), "utf-8")


def on_page(page: str, result: dict[str, Any]) -> str:
    """The page with the tables of a result."""
    page = between(page, "folded experts", _experts_table(result), COMMAND)
    return between(page, "made folds", _made_table(result), COMMAND)


def _experts_table(result: dict[str, Any]) -> str:
    head = ["models", "energy beyond the leading quarter, %", *DTYPES, "matrices that cannot tell in bfloat16, %"]
    lines = [_row(head), "| --- | ---: |" + " ---: |" * (len(head) - 2)]
    for family in result["families"]:
        low, high = (100 * share for share in family["found"]["float32"]["tail"])
        tail = "0" if high < 1e-4 else f"{low:.1f} to {high:.0f}"
        cells = [f"{found['folded']} of {found['models']}{_ranks(found)}" for found in family["found"].values()]
        said = family["found"]["bfloat16"]["matrices"]
        lines.append(_row([family["title"], tail, *cells, f"{100 * said['silent'] / sum(said.values()):.0f}"]))
    return "\n".join(lines) + f"\n\n{_of(result)}\n"


def _made_table(result: dict[str, Any]) -> str:
    lines = [_row(["rank", "update over weights, %", *DTYPES]), "| ---: | ---: |" + " --- |" * len(DTYPES)]
    words = {"low": "folded", "full": "full", "silent": "cannot be told"}
    for made in result["made"]:
        cells = [
            ", ".join(word for said, word in words.items() if found[said]) + _ranks(found)
            for found in made["found"].values()
        ]
        lines.append(_row([str(made["rank"]), f"{100 * made['size']:g}", *cells]))
    return "\n".join(lines) + "\n"


def _ranks(found: dict[str, Any]) -> str:
    """The ranks that were found."""
    return f", rank {' or '.join(map(str, found['ranks']))}" if found["ranks"] else ""


def _of(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    return (
        f"`{COMMAND}`, {result['date']}; {machine['cpu']}; python {versions['python']}, torch {versions['torch']}, "
        f"mergeometry {versions['mergeometry']}."
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
