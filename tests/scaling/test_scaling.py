"""Rules for the scale against slow references written from their formulas, and merges at ``scale: auto``."""

from __future__ import annotations

import json
import statistics as plain_statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.errors import NumericalError, RecipeError
from mergeometry.execution.measuring import gram_of, statistics_of
from mergeometry.linalg.inner import inner
from mergeometry.methods import registry as methods
from mergeometry.recipe.scale import ScaleRule
from mergeometry.scaling import RULES, Statistics, UndefinedScale, find, scale_by, total
from mergeometry.scaling.statistics import of_matrices
from mergeometry.sink.record import read_record
from mergeometry.values import Delta, LowRank
from tests.helpers import models, reference

Arrays = list[np.ndarray]


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def thin(seed: int, m: int, n: int, rank: int = 3) -> LowRank:
    return LowRank(drawn(seed, m, rank), drawn(seed + 50, rank, rank + 1), drawn(seed + 90, n, rank + 1))


def plain(delta: Delta) -> np.ndarray:
    return (delta.dense(torch.float64) if isinstance(delta, LowRank) else delta.double()).numpy()


def least(error: Any) -> float:
    return float(minimize_scalar(error, bracket=(0.0, 1.0), tol=1e-12).x)


def norm(tau: np.ndarray) -> float:
    return float(np.sqrt((tau * tau).sum()))


def nan_norm(tau: np.ndarray, taus: Arrays) -> float:
    weights = np.array([1 / norm(one) for one in taus])
    weights /= weights.sum()
    return norm(sum(w * one for w, one in zip(weights, taus, strict=True))) / norm(tau)


def gram_mean(tau: np.ndarray, taus: Arrays) -> float:
    columns = np.stack([one.ravel() for one in taus], axis=1)
    return 1 / np.linalg.lstsq(columns, tau.ravel(), rcond=None)[0].mean()


def coram_by_hand(lengths: list[float]) -> float:
    return float((1.15 if max(lengths) < 7.5 * min(lengths) else 0.5) * np.sqrt(np.mean(np.square(lengths))))


REFERENCES: dict[str, Any] = {
    "one": lambda tau, taus: 1.0,
    "projection": lambda tau, taus: least(lambda s: sum(norm(s * tau - one) ** 2 for one in taus)),
    "relative_projection": lambda tau, taus: least(lambda s: sum((norm(s * tau - o) / norm(o)) ** 2 for o in taus)),
    "own_projection": lambda tau, taus: least(
        lambda s: sum((s * (tau * one).sum() / norm(one) - norm(one)) ** 2 for one in taus)
    ),
    "own_share": lambda tau, taus: 1 / np.mean([(tau * one).sum() / (one * one).sum() for one in taus]),
    "norm_mean": lambda tau, taus: np.mean([norm(one) for one in taus]) / norm(tau),
    "norm_sqrt": lambda tau, taus: np.sqrt(len(taus)) * np.mean([norm(one) for one in taus]) / norm(tau),
    "coram": lambda tau, taus: coram_by_hand([norm(one) for one in taus]) / norm(tau),
    "gram_retention": gram_mean,
    "svc_gamma": lambda tau, taus: float((reference.svc(tau, taus) * tau).sum() / (tau * tau).sum()),
    "inverse_norm": nan_norm,
}  # fmt: skip


def measured(merged: Delta, deltas: list[Delta], rule: str) -> Statistics:
    return statistics_of(merged, deltas, find(rule).needs)


class TestRules:
    def test_every_rule_has_a_reference_and_a_law(self) -> None:
        assert set(REFERENCES) == set(RULES)
        assert all("``" in rule.law for rule in RULES.values())

    @pytest.mark.parametrize("form", ["dense", "thin", "mixed"])
    @pytest.mark.parametrize("method", ["task_arithmetic", "average", "tsv_m", "iso_c"])
    @pytest.mark.parametrize("rule", list(RULES))
    def test_agrees_with_its_formula(self, rule: str, method: str, form: str) -> None:
        for seed, shape, tasks in ((0, (14, 9), 3), (1, (9, 14), 5)):
            shared = drawn(99, *shape)
            deltas: list[Delta] = [
                thin(seed + 10 * t, *shape) if form == "thin" or (form == "mixed" and t == 0)
                else (1 + t) * (drawn(seed + 10 * t, *shape) + 0.3 * shared)
                for t in range(tasks)
            ]  # fmt: skip
            merged = methods.build(method, {})(deltas)
            expected = REFERENCES[rule](plain(merged), [plain(delta) for delta in deltas])
            found = scale_by(find(rule), measured(merged, deltas, rule))
            assert found == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(("length", "kappa"), [(3.5, 1.15), (16.0, 0.5)])
    def test_coram_restores_less_where_lengths_are_uneven(self, length: float, kappa: float) -> None:
        first, second = drawn(0, 12, 8), drawn(1, 12, 8)
        deltas: list[Delta] = [first / first.norm(), length * second / second.norm()]
        merged = methods.build("average", {})(deltas)
        assert isinstance(merged, torch.Tensor)
        expected = kappa * ((1 + length**2) / 2) ** 0.5 / float(merged.norm())
        assert scale_by(find("coram"), measured(merged, deltas, "coram")) == pytest.approx(expected)

    def test_known_scales(self) -> None:
        deltas: list[Delta] = list(drawn(3, 4, 12, 8))
        for method, rule, expected in (
            ("average", "projection", 1.0),
            ("task_arithmetic", "projection", 0.25),
            ("task_arithmetic", "gram_retention", 1.0),
            ("average", "gram_retention", 4.0),
        ):
            merged = methods.build(method, {})(deltas)
            assert scale_by(find(rule), measured(merged, deltas, rule)) == pytest.approx(expected)

    @pytest.mark.parametrize("rule", [name for name in RULES if name not in {"one", "svc_gamma"}])
    def test_a_rule_undoes_the_merge_s_own_scale(self, rule: str) -> None:
        deltas: list[Delta] = [drawn(t, 10, 7) + drawn(50, 10, 7) for t in range(3)]
        merged = methods.build("task_arithmetic", {})(deltas)
        once = scale_by(find(rule), measured(merged, deltas, rule))
        again = scale_by(find(rule), measured(2.0 * merged, deltas, rule))
        assert 2.0 * again == pytest.approx(once)

    @pytest.mark.parametrize("rule", list(RULES))
    def test_a_task_that_changed_nothing_takes_no_part(self, rule: str) -> None:
        deltas: list[Delta] = [drawn(t, 10, 7) + drawn(50, 10, 7) for t in range(3)]
        merged = methods.build("task_arithmetic", {})(deltas)
        beside: list[Delta] = [*deltas[:1], torch.zeros(10, 7), *deltas[1:], LowRank.zero(10, 7)]
        one, other = (scale_by(find(rule), measured(merged, own, rule)) for own in (deltas, beside))
        assert other == pytest.approx(one)

    @pytest.mark.parametrize("rule", list(RULES))
    def test_nothing_merged_is_left_as_it_is(self, rule: str) -> None:
        nothing: list[Delta] = [torch.zeros(4, 3), LowRank.zero(4, 3)]
        for merged in nothing:
            assert scale_by(find(rule), measured(merged, nothing, rule)) == 1.0

    def test_what_has_no_value_is_said(self) -> None:
        delta = drawn(0, 5, 4)
        for rule in ("own_share", "own_projection", "gram_retention"):
            with pytest.raises(UndefinedScale, match="the merge"):
                scale_by(find(rule), measured(-delta, [delta], rule))
        assert scale_by(find("projection"), measured(-delta, [delta], "projection")) == 0.0
        with pytest.raises(UndefinedScale, match="at most"):
            scale_by(find("norm_mean"), measured(1e-5 * delta, [delta], "norm_mean"))
        with pytest.raises(RecipeError, match="'projection'"):
            find("projektion")

    def test_tensors_laid_end_to_end_are_one_tensor(self) -> None:
        rows = [[drawn(10 * part + t, 6, 5) for t in range(3)] for part in range(4)]
        merges = [methods.build("ties", {})(part) for part in rows]
        parts = [statistics_of(merged, own, {"gram"}) for merged, own in zip(merges, rows, strict=True)]
        whole = statistics_of(torch.cat(merges), [torch.cat([part[t] for part in rows]) for t in range(3)], {"gram"})
        found = total(reversed(parts))
        assert found == total(parts) and Statistics.from_json(json.loads(json.dumps(found.to_json()))) == found
        for one, other in zip(found.to_json()[:4], whole.to_json()[:4], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        assert of_matrices([(True, parts[0]), (False, parts[1])]) == total(parts[:1])
        assert of_matrices([(False, parts[1])]) == total(parts[1:2])


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (2000, 700), (0, 4)])
def test_inner_products_of_thin_and_dense_agree(shape: tuple[int, int]) -> None:
    one, other = thin(0, *shape), thin(7, *shape)
    expected = float((plain(one) * plain(other)).sum())
    dense, beside = torch.from_numpy(plain(one)), torch.from_numpy(plain(other))
    for left in (one, dense):
        for right in (other, beside, beside.mT.contiguous().mT):
            assert inner(left, right) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    with pytest.raises(ValueError, match="one shape"):
        inner(one, torch.zeros(shape[0] + 1, shape[1]))
    assert gram_of([one, beside])[0][1] == gram_of([one, beside])[1][0] == inner(beside, one)


PER_TENSOR = {"rule": "norm_mean", "per": "tensor"}


def at_computed_scales(recipe: dict[str, Any], found: Path, tmp_path: Path) -> dict[str, Any]:
    """The recipe with every scale that a run record names written out as a rule of its own."""
    scales = {tensor.name: tensor.scale for tensor in read_record(found).tensors}
    rules = [{"match": name, "scale": scale} for name, scale in scales.items() if scale is not None]
    return {**recipe, "scale": 1.0, "tensors": rules}


@pytest.mark.parametrize("adapters", [0, 1, 3])
@pytest.mark.parametrize("method", ["task_arithmetic", "average", "ties", "tsv_m", "iso_c"])
def test_auto_is_the_merge_at_the_computed_scales(tmp_path: Path, method: str, adapters: int) -> None:
    family = {**models.write_family(tmp_path, adapters=adapters), "method": method}
    for rule in (PER_TENSOR, {"rule": "gram_retention", "per": "tensor"}, {"rule": "svc_gamma", "per": "tensor"}):
        out, again = tmp_path / f"auto-{rule['rule']}", tmp_path / f"numbers-{rule['rule']}"
        run = mg.merge({**family, "scale": rule}, out, workers=1, overwrite=True)
        mg.merge(at_computed_scales(family, out, tmp_path), again, workers=1, overwrite=True)
        merged, expected = models.loaded(out), models.loaded(again)
        for name in expected:
            torch.testing.assert_close(merged[name], expected[name], rtol=1e-6, atol=1e-7)
        scales = [tensor.scale for tensor in run.tensors if tensor.scale is not None]
        assert run.scaling is not None and run.scaling["median"] == plain_statistics.median(scales)
        assert read_record(out).scaling == run.scaling == {**run.scaling, "per": "tensor", "tensors": len(scales)}


def test_auto_by_hand(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    family["models"] = [
        {"path": path, "weight": weight} for path, weight in zip(family["models"], (1.0, 0.5, 0.3), strict=True)
    ]
    run = mg.merge({**family, "method": "ties", "scale": PER_TENSOR}, tmp_path / "out", workers=1)
    base = models.loaded(tmp_path / "base")
    for tensor in run.tensors:
        taus = [
            weight * (models.loaded(tmp_path / f"task{t}")[tensor.name].double() - base[tensor.name].double()).numpy()
            for t, weight in enumerate((1.0, 0.5, 0.3))
        ]
        at_one = methods.build("ties", {})(
            [torch.as_tensor(tau / w) for tau, w in zip(taus, (1.0, 0.5, 0.3), strict=True)], [1.0, 0.5, 0.3]
        )
        assert tensor.scale == pytest.approx(REFERENCES["norm_mean"](plain(at_one), taus), rel=1e-4, abs=1e-6)
    assert len({tensor.scale for tensor in run.tensors}) > 2


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m"])
def test_one_scale_for_the_model_is_that_of_its_matrices(tmp_path: Path, method: str) -> None:
    family = {**models.write_family(tmp_path, adapters=1), "method": method}
    rule = {"rule": "norm_mean", "per": "model", "factor": 0.5}
    run = mg.merge({**family, "scale": rule}, tmp_path / "out", workers=1)
    (scale,) = {tensor.scale for tensor in run.tensors if tensor.scale is not None}
    mg.merge({**family, "scale": scale}, tmp_path / "number", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "number")
    mg.merge(family, tmp_path / "one", workers=1)
    base, merged = models.loaded(tmp_path / "base"), models.loaded(tmp_path / "one")
    own = [models.loaded(tmp_path / f"task{t}") for t in range(2)]
    factors = models.random_factors(2, models.MODULES)
    names = [f"{module}.weight" for module in models.MODULES]
    deltas = [torch.cat([(one[name] - base[name]).flatten() for name in names]) for one in own]
    deltas.append(torch.cat([(2.0 * (up @ down)).flatten() for down, up in factors.values()]))
    tau = torch.cat([(merged[name] - base[name]).flatten() for name in names])
    assert scale == pytest.approx(0.5 * float(sum(d.norm() for d in deltas) / 3 / tau.norm()), rel=1e-4)


@pytest.mark.suite
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    family = {**models.write_family(tmp_path, adapters=1), "method": "dc_merge"}
    for scale in ("auto", {"rule": "inverse_norm", "per": "tensor"}):
        recipe = {**family, "scale": scale}
        runs = [mg.merge(recipe, tmp_path / "out", workers=workers, overwrite=True) for workers in (1, 2)]
        assert len({run.digest for run in runs}) == 1 and runs[0].scaling == runs[1].scaling


def test_an_adapter_is_written_at_its_scales(tmp_path: Path) -> None:
    family = {**models.write_family(tmp_path, adapters=3), "method": "tsv_m"}
    mg.merge({**family, "scale": PER_TENSOR}, tmp_path / "full", workers=1)
    run = mg.merge({**family, "scale": PER_TENSOR, "output": {"adapter": True}}, tmp_path / "adapter", workers=1)
    base, full = models.loaded(tmp_path / "base"), models.loaded(tmp_path / "full")
    factors = models.loaded(tmp_path / "adapter", "adapter_model")
    for module in models.MODULES:
        down, up = (factors[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(up @ down, full[f"{module}.weight"] - base[f"{module}.weight"], rtol=1e-4, atol=1e-5)
    assert {tensor.scale for tensor in run.tensors} == {
        tensor.scale for tensor in read_record(tmp_path / "full").tensors if tensor.method == "tsv_m"
    }


def test_a_rule_s_own_number_stays(tmp_path: Path) -> None:
    rules = [{"match": "layer.0.*", "scale": 0.125}]
    run = mg.merge({**models.write_family(tmp_path), "method": "ties", "scale": PER_TENSOR, "tensors": rules},
                   tmp_path / "out", workers=1)  # fmt: skip
    assert {tensor.scale for tensor in run.tensors if tensor.name.startswith("layer.0")} == {0.125}
    assert run.scaling is not None and run.scaling["tensors"] == len(run.tensors) - 2


def test_a_rule_without_a_value_is_told(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1)
    weights = [{"path": path, "weight": -1.0} for path in family["models"]]
    # An average of one model at weight -1 is that model: it leads away from its weighed task vector.
    recipe = {**family, "models": weights, "method": "average", "scale": {"rule": "own_share", "per": "tensor"}}
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    assert {tensor.scale for tensor in run.tensors} == {1.0}
    assert all("no scale by own_share" in tensor.notes[0] for tensor in run.tensors)
    assert any(warning.startswith(f"{len(run.tensors)} tensors keep the scale 1") for warning in run.warnings)
    with pytest.raises(NumericalError, match="no scale by this rule"):
        mg.merge({**recipe, "scale": {"rule": "own_share", "per": "model"}}, tmp_path / "none", workers=1)
    assert not (tmp_path / "none").exists()


def test_learning_refuses_a_rule_per_tensor(tmp_path: Path) -> None:
    tasks = [{"name": "task0", "data": "x.jsonl", "head": "y.safetensors"}]
    recipe = {**models.write_family(tmp_path, count=1), "method": "adamerging"}
    recipe["scale"] = {"rule": "projection", "per": "tensor"}
    with pytest.raises(RecipeError, match="a gradient or a rule per tensor"):
        mg.load_recipe({**recipe, "adapt": {"tasks": tasks}})
    with pytest.raises(RecipeError, match="no `adapt:` section"):
        mg.make_plan(recipe)


@pytest.mark.parametrize(
    ("method", "rule"),
    [("ties", "projection"), ("average", "projection"), ("knots", "projection"), ("tsv_m", "norm_mean")],
)
def test_auto_is_the_rule_of_the_method(tmp_path: Path, method: str, rule: str) -> None:
    given = {**models.write_family(tmp_path), "method": method}
    auto, whole = (mg.load_recipe({**given, "scale": scale}) for scale in ("auto", {"rule": rule}))
    assert auto.scale == ScaleRule() and auto.canonical()["scale"] == {"rule": "auto", "per": "model", "factor": 1.0}
    assert mg.make_plan(auto).recipe == mg.make_plan(whole).recipe == whole
    assert mg.load_recipe(auto.canonical()) == auto
    assert mg.load_recipe(given, ["scale=auto"]) == auto and mg.load_recipe(given, ["scale=0.5"]).scale == 0.5


def test_the_command_line_says_which(tmp_path: Path) -> None:
    recipe = {**models.write_family(tmp_path), "method": "tsv_m", "scale": "auto"}
    place = tmp_path / "recipe.yaml"
    place.write_text(json.dumps(recipe))
    foretold = CliRunner().invoke(app, ["plan", str(place), "--json"])
    scales = [tensor["scale"] for tensor in json.loads(foretold.stdout)["tensors"]]
    assert scales == [{"rule": "norm_mean", "per": "model", "factor": 1.0}] * len(models.SHAPES)
    assert "norm_mean" in CliRunner().invoke(app, ["plan", str(place)]).stdout
    done = CliRunner().invoke(app, ["merge", str(place), "--output", str(tmp_path / "out")])
    assert done.exit_code == 0 and "scale by norm_mean, one for the model:" in done.stdout
    assert "Scale without labels: norm&#95;mean per model" in (tmp_path / "out" / "README.md").read_text()
