"""The benchmarks run, agree and write their page; how fast anything was is never asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.pages.page import write_page
from benchmarks.speed import (
    full_svd,
    synthetic,
)
from benchmarks.speed.__main__ import BENCHMARKS, main
from benchmarks.speed.measure import shown
from benchmarks.speed.sizes import BERT_LARGE, MINILM, TINY, VIT_B
from mergeometry.methods import registry
from mergeometry.values import LowRank

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    paths = ["--work", str(folder / "work"), "--results", str(folder / "results"), "--page", str(folder / "page.md")]
    main(["adapters", "full", "second", "elementwise", "--quick", *paths])
    return folder


@pytest.mark.suite
@pytest.mark.parametrize("name", ["adapters", "full", "second", "elementwise"])
def test_quick_results(quick: Path, name: str) -> None:
    result = json.loads((quick / "results" / f"{name}.json").read_text())
    assert result["benchmark"] == name
    assert result["machine"]["cores"] >= 1
    assert {"python", "torch", "mergeometry"} <= set(result["versions"])
    for row in result["rows"]:
        assert row["wall_s"] > 0
        assert row["peak_bytes"] > 1e6
        assert str(ROOT) not in row["command"]
    assert result["goals"]
    assert result["agreement"]
    for found in result["agreement"]:
        assert found["worst"] < 1e-3, found


@pytest.mark.suite
def test_quick_page(quick: Path) -> None:
    page = (quick / "page.md").read_text()
    for name in ("adapters", "full", "second", "elementwise"):
        assert BENCHMARKS[name].TITLE in page
    assert BENCHMARKS["peers"].TITLE not in page
    before = page
    write_page(quick / "results", quick / "page.md", {name: module.TITLE for name, module in BENCHMARKS.items()})
    assert (quick / "page.md").read_text() == before


@pytest.mark.parametrize("name", ["tsv_m", "mda", "dc_merge", "average", "task_arithmetic", "ties"])
def test_full_svd_is_the_same_merge(name: str) -> None:
    base = synthetic.base_weights(TINY)
    tuned = [synthetic.fine_tuned(base, TINY, task) for task in range(TINY.tasks)]
    method = registry.build(name, {})
    for module, shape in TINY.matrices():
        taus = [model[f"{module}.weight"] - base[f"{module}.weight"] for model in tuned]
        ours = method(taus)
        assert isinstance(ours, torch.Tensor)
        expected = full_svd.METHODS[name]([tau.double() for tau in taus], min(shape) // len(taus))
        assert (ours - expected).norm() <= 1e-5 * expected.norm(), module


@pytest.mark.parametrize("name", ["tsv_m", "mda", "dc_merge"])
def test_full_svd_is_the_same_merge_of_adapters(name: str) -> None:
    rank = TINY.adapter_rank
    adapters = [synthetic.adapter(TINY, task) for task in range(TINY.tasks)]
    for module, _ in TINY.matrices():
        pairs = [(own[f"base_model.model.{module}.lora_B.weight"], own[f"base_model.model.{module}.lora_A.weight"])
                 for own in adapters]  # fmt: skip
        ours = registry.build(name, {})([LowRank(up, torch.eye(rank), down.mT) for up, down in pairs])
        assert isinstance(ours, LowRank)
        law = full_svd.OF_ADAPTERS.get(name, full_svd.METHODS[name])
        expected = law([up.double() @ down.double() for up, down in pairs], rank)
        assert (ours.dense(torch.float64) - expected).norm() <= 1e-5 * expected.norm(), module


def test_sizes_are_the_model_they_are_named_after() -> None:
    assert VIT_B.parameters == 85_798_656  # transformers' ViTModel without its pooler
    assert MINILM.parameters == 22_713_216 - 384 * 385  # all-MiniLM-L6-v2 without its pooler
    assert BERT_LARGE.parameters == 335_141_888 - 1024 * 1025  # bert-large-uncased without its pooler


def test_commands_are_shown_as_typed() -> None:
    command = [sys.executable, "-m", "mergeometry", "merge", "--base", str(ROOT / "benchmarks" / "scratch" / "base")]
    assert shown(command) == "mergeometry merge --base benchmarks/scratch/base"
