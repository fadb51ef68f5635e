"""Adapters that were folded into the weights are told from full fine-tunes, and what cannot tell is not asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.plan.choice_of_method import FITTED
from mergeometry.plan.likeness import sample
from mergeometry.plan.low_rank import VOTES, Ballot, Verdict, judge
from mergeometry.sources import Checkpoint, open_model
from tests.helpers import models
from tests.helpers.commands import invoke

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MATRICES = [f"layer.{number}.dense.weight" for number in range(4)]


def weights(rows: int, columns: int, seed: int = 0) -> Tensor:
    return 0.02 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def moved(base: Tensor, rank: int, size: float, seed: int = 1) -> Tensor:
    """The base with an update of some rank whose norm is a share of the base's, summed exactly and rounded once."""
    generator = torch.Generator().manual_seed(seed)
    update = torch.randn(len(base), rank, generator=generator) @ torch.randn(rank, base.shape[1], generator=generator)
    return (base.double() + size * float(base.float().norm() / update.norm()) * update).to(base.dtype)


def is_low(base: Tensor, model: Tensor) -> bool | None:
    verdict = judge(base.float(), model.float())
    return None if verdict is None else verdict.low


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rank", [4, 16, 64, 128])
def test_a_fold_is_told_in_each_dtype_and_rank(dtype: torch.dtype, rank: int) -> None:
    base = weights(4 * rank, 512).to(dtype)
    for size in (0.01, 0.1):
        assert judge(base.float(), moved(base, rank, size).float()) == Verdict(low=True, rank=rank)
        assert is_low(base, moved(base, 2 * rank, size)) is False
        assert is_low(base, moved(base, 4 * rank, size)) is False


@pytest.mark.parametrize("shape", [(64, 400), (400, 64)])
def test_a_quarter_of_the_short_side_is_the_highest_rank(shape: tuple[int, int]) -> None:
    base = weights(*shape).bfloat16()
    assert is_low(base, moved(base, 16, 0.05)) is True
    assert is_low(base, moved(base, 24, 0.05)) is False


@pytest.mark.parametrize("rank", [4, 256])
def test_an_update_that_drowns_in_the_rounding_cannot_be_told(rank: int) -> None:
    base = weights(256, 256).bfloat16()
    for size in (1e-5, 1e-4, 1e-3):
        assert is_low(base, moved(base, rank, size)) is None
    assert is_low(base.float(), weights(256, 256)) is None, "the base alone was rounded"


def test_the_rounding_is_that_of_the_values_whatever_the_file_says() -> None:
    base = weights(256, 256)
    fold = moved(base, 8, 0.02)
    for dtype in (torch.float16, torch.bfloat16):
        assert is_low(base, fold.to(dtype).float()) is True, "a base of 32 bits"
        assert is_low(base.to(dtype).float(), fold) is True, "a base of fewer bits than the model"
        assert is_low(base, moved(base, 256, 0.02).to(dtype).float()) is False


def test_what_cannot_tell() -> None:
    base = weights(64, 64)
    assert is_low(base, base) is None, "not moved"
    assert is_low(base[:15], moved(base, 1, 0.1)[:15]) is None, "too small"
    broken = moved(base, 2, 0.1)
    broken[3, 3] = float("nan")
    assert is_low(base, broken) is None
    assert is_low(torch.zeros(64, 64), moved(base, 2, 0.1) - base) is True, "a base that was not trained"


def test_a_majority_decides_about_a_model_and_one_full_model_about_all() -> None:
    low, full = Verdict(low=True, rank=4), Verdict(low=False, rank=90)
    ballot = Ballot([0, 2])
    assert ballot.rank is None and ballot.asks(0) and ballot.asks(2)
    for verdict in (None, full, low, None, low):
        ballot.cast(0, verdict)
    assert not ballot.asks(0) and ballot.asks(2) and ballot.rank is None
    ballot.cast(2, Verdict(low=True, rank=8))
    assert ballot.rank == 8, "a single matrix that tells is enough"
    for _ in range(VOTES):
        ballot.cast(2, full)
    assert not ballot.asks(2) and ballot.rank is None and Ballot([]).rank is None


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folds, a full fine-tune and an adapter of a text model, with a kernel and a table that all train as they like."""
    base = {name: weights(48, 64, seed) for seed, name in enumerate(MATRICES)}
    base |= {"embed.weight": weights(64, 64, 8), "conv.weight": weights(64, 64 * 9, 9).view(64, 64, 3, 3)}
    models.write_model(tmp_path / "base", base, {"vocab_size": 64})

    def write(name: str, ranks: list[int], seed: int) -> None:
        tuned = {
            matrix: moved(base[matrix], rank, 0.05, seed + place) if rank else base[matrix]
            for place, (matrix, rank) in enumerate(zip(MATRICES, ranks, strict=True))
        }
        free = {name: base[name] + 0.1 * base[name].flip(0) for name in ("embed.weight", "conv.weight")}
        models.write_model(tmp_path / name, {**tuned, **free}, {"_name_or_path": "base"})

    write("fold", [4, 4, 4, 4], 10)
    write("other", [0, 6, 48, 4], 20)
    write("full", [48, 48, 48, 48], 30)
    write("still", [0, 0, 0, 0], 40)
    factors = models.random_factors(5, {name.removesuffix(".weight"): (48, 64) for name in MATRICES})
    models.write_adapter(tmp_path / "adapter", factors)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "rank"),
    [
        (["fold", "other"], 6),
        (["fold", "other", "adapter"], 6),
        (["fold", "full"], None),
        (["full", "fold", "other"], None),
        (["fold", "still"], None),
        (["full", "adapter"], None),
        (["adapter", "adapter"], None),
    ],
)
def test_models_are_folded_where_all_full_ones_are(family: Path, names: list[str], rank: int | None) -> None:
    base = open_model(family / "base", "base")
    assert isinstance(base, Checkpoint)
    assert sample(base, [open_model(family / name, name) for name in names]).folded == rank


def test_plan_merge_record_and_inspection_say_the_same_of_folds(family: Path) -> None:
    merge, why = FITTED["text adapters"], "the models' updates are of low rank, as of adapters folded into the weights"
    merge = replace(merge, method={**merge.method, "rank": 6})
    plan = mg.make_plan(base="base", models=["fold", "other"])
    assert "2 folded adapters of a text model" in plan.notes[0] and f"auto: chose {merge}" == plan.notes[1]
    assert f"because {why}, and it lost least on the leaderboards of adapters of text models" in plan.notes[2]
    run = mg.merge(base="base", models=["fold", "other"], output="out")
    assert run.recipe == plan.recipe.canonical() | {"output": run.recipe["output"]}
    assert run.warnings[:3] == plan.notes[:3]
    done = invoke("inspect", "fold", "other", "--output", "page", "--workers", "1")
    assert done.exit_code == 0, done.output
    page = json.loads(Path("page/inspection.json").read_text())
    told = next(line["text"] for line in page["verdict"] if "`method: auto`" in line["text"])
    assert page["folded"] == 6 and told.startswith("`method: auto` takes `tsv_m` (rank: 6) with `refine: [norm]`")
    assert why in told and "boards of adapters of text models" in told
    mixed = mg.make_plan(base="base", models=["fold", "full"])
    assert "2 full fine-tunes" in mixed.notes[0] and mixed.recipe.method.name == FITTED["full"].method["name"]
    assert mg.inspect(base="base", models=["fold", "full"]).folded is None
