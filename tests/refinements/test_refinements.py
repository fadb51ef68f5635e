"""What every refinement keeps to, and what each is for; and how a recipe's `refine:` reaches the written tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry import refinements
from mergeometry.cli.app import app
from mergeometry.conventions.kinds import is_matrix
from mergeometry.errors import RecipeError
from mergeometry.execution.refining import WeighedDeltas
from mergeometry.methods.base import accumulate
from mergeometry.methods.families.linear import WeightedSum
from mergeometry.refinements import registry
from mergeometry.refinements.norm import Norm
from mergeometry.refinements.svc import SVC
from mergeometry.sink.record import read_record
from mergeometry.values import Delta, LowRank
from tests.helpers import models, reference

ALL: list[tuple[str, dict[str, Any]]] = [
    ("svc", {}),
    ("svc", {"alpha": 1.0}),
    ("norm", {}),
    ("norm", {"target": "root_sum_square", "factor": 2.0}),
    ("pico", {}),
]


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def thin(seed: int, m: int, n: int, rank: int = 2) -> LowRank:
    return LowRank(
        drawn(seed, m, rank).float(), torch.diag(drawn(seed + 50, rank)).float(), drawn(seed + 90, n, rank).float()
    )


def plain(delta: Delta) -> torch.Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta.double()


def close(one: Delta, other: Delta, bound: float = 1e-6) -> None:
    assert float((plain(one) - plain(other)).norm()) <= bound * float(plain(other).norm())


@pytest.mark.parametrize(("name", "given"), ALL, ids=str)
class TestLaws:
    def test_states_law_and_source(self, name: str, given: dict[str, Any]) -> None:
        refinement = registry.build(name, given)
        kind = type(refinement)
        assert "Law" in (kind.__doc__ or "") and "arXiv" in refinement.source
        assert getattr(refinements, kind.__name__) is kind and getattr(mg.refinements, kind.__name__) is kind
        assert refinement.described().keys() >= given.keys()

    def test_thin_is_dense(self, name: str, given: dict[str, Any]) -> None:
        refinement = registry.build(name, given)
        for m, n in ((12, 9), (9, 12), (5, 30)):
            deltas = [thin(t, m, n) for t in range(3)]
            merged = mg.methods.TaskArithmetic()(deltas)
            assert isinstance(merged, LowRank)
            refined = refinement(merged, deltas)
            assert isinstance(refined, LowRank) and refined.rank <= merged.rank
            full = refinement(plain(merged), [plain(delta) for delta in deltas])
            assert isinstance(full, torch.Tensor)
            close(refined, full)
            close(refinement(plain(merged), deltas), full)

    def test_scales_with_its_inputs(self, name: str, given: dict[str, Any]) -> None:
        refinement = registry.build(name, given)
        deltas = [drawn(t, 12, 8) for t in range(3)]
        merged = torch.stack(deltas).sum(dim=0)
        expected = refinement(merged, deltas)
        for factor in (2.0**66, 2.0**-66, -1.0):
            found = refinement((merged * factor).float(), [(delta * factor).float() for delta in deltas])
            assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
            close(found.double() / factor, expected, 1e-5)

    def test_order_and_untouched_tasks_change_nothing(self, name: str, given: dict[str, Any]) -> None:
        refinement = registry.build(name, given)
        deltas = [drawn(t, 7, 11) for t in range(3)]
        merged = torch.stack(deltas).sum(dim=0)
        before = [delta.clone() for delta in [merged, *deltas]]
        expected = refinement(merged, deltas)
        close(refinement(merged, deltas[::-1]), expected)
        close(refinement(merged, [*deltas, torch.zeros(7, 11), LowRank.zero(7, 11)]), expected)
        assert all(torch.equal(one, other) for one, other in zip(before, [merged, *deltas], strict=True))

    @pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
    def test_finite_for_hard_inputs(self, name: str, given: dict[str, Any], size: float) -> None:
        refinement = registry.build(name, given)
        one = (drawn(0, 6, 4) * size).float()
        rank_one = torch.outer(one[:, 0], one[0] / size)
        for merged, deltas in (
            (torch.zeros(6, 4), [one, -one]),
            (one + -one, [one, -one]),
            (one, [one]),
            (rank_one, [rank_one, one]),
            (LowRank.zero(6, 4), [LowRank.zero(6, 4)] * 2),
            (LowRank.zero(6, 4), [thin(0, 6, 4), thin(0, 6, 4).scaled(-1.0)]),
            (torch.zeros(6, 4), [torch.zeros(6, 4)]),
            (torch.zeros(0, 4), [torch.zeros(0, 4)]),
        ):
            refined = refinement(merged, deltas)
            assert tuple(refined.shape) == tuple(merged.shape)
            assert bool(torch.isfinite(plain(refined)).all())
            if not bool(plain(merged).any()):
                assert not bool(plain(refined).any())

    def test_what_it_is_called_with_is_checked(self, name: str, given: dict[str, Any]) -> None:
        refinement = registry.build(name, given)
        with pytest.raises(ValueError, match="needs a matrix"):
            refinement(torch.ones(3), [torch.ones(3)])
        with pytest.raises(ValueError, match="got none"):
            refinement(torch.ones(3, 2), [])
        with pytest.raises(ValueError, match=r"of shape \[3, 2\], got \[2, 3\]"):
            refinement(torch.ones(3, 2), [torch.ones(2, 3)])


def test_what_tasks_share_is_counted_once() -> None:
    """The sum of equal tasks becomes the task; the sum of tasks that share no output stays as it is."""
    tau = drawn(0, 9, 6)
    close(SVC()(4 * tau, [tau] * 4), tau)
    apart = [torch.zeros(9, 6).double() for _ in range(3)]
    for t, own in enumerate(apart):
        own[3 * t : 3 * t + 3, 2 * t : 2 * t + 2] = drawn(t, 3, 2)
    total = torch.stack(apart).sum(dim=0)
    # They share no input either, so one task in three responds to each direction, fully: the others count as alpha.
    close(SVC(alpha=1.0)(total, apart), total)
    close(SVC(alpha=0.25)(total, apart), total * 3 / 1.5)


def test_only_the_spectrum_is_calibrated() -> None:
    deltas = [drawn(t, 9, 6) + drawn(9, 9, 6) for t in range(3)]
    merged = torch.stack(deltas).sum(dim=0)
    left, _, right = torch.linalg.svd(merged, full_matrices=False)
    inner = left.T @ plain(SVC()(merged, deltas)) @ right.T
    assert float((inner - torch.diag(inner.diagonal())).abs().max()) <= 1e-9 * float(inner.diagonal().max())
    assert bool((inner.diagonal() > 0).all())


def test_norms_are_matched() -> None:
    deltas = [drawn(t, 9, 6) * (t + 1) for t in range(3)]
    norms = torch.tensor([float(delta.norm()) for delta in deltas])
    for target, wanted in (("mean", norms.mean()), ("root_sum_square", norms.norm())):
        refined = plain(Norm(target=target, factor=0.5)(deltas[0] - deltas[1], deltas))
        assert float(refined.norm()) == pytest.approx(0.5 * float(wanted), rel=1e-6)


@pytest.mark.parametrize(
    ("refine", "said"),
    [
        (["svd"], "did you mean 'svc'"),
        ([{"name": "svc", "alfa": 1}], "did you mean 'alpha'"),
        ([{"name": "svc", "alpha": 0}], "alpha"),
        ([{"name": "norm", "target": "max"}], "target"),
    ],
)
def test_a_refinement_that_is_not_there_is_refused(tmp_path: Path, refine: list[Any], said: str) -> None:
    family = models.write_family(tmp_path)
    with pytest.raises(RecipeError) as caught:
        mg.make_plan({**family, "method": "tsv_m", "refine": refine})
    assert said in f"{caught.value.what} {caught.value.hint}"


def test_learning_and_refining_exclude_each_other(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    tasks = [{"name": f"task{t}", "data": "a.jsonl"} for t in range(3)]
    with pytest.raises(RecipeError, match="refine: a refinement changes the merge as a whole"):
        mg.load_recipe({**family, "method": "tsv_m", "refine": ["svc"], "adapt": {"tasks": tasks}})


def test_a_model_without_matrices_has_nothing_to_refine(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, shapes={"norm.weight": (6,), "embeddings.word.weight": (9, 4)})
    with pytest.raises(RecipeError, match="no tensor is a merged matrix"):
        mg.make_plan({**family, "method": "tsv_m", "refine": ["svc"]})


@pytest.mark.parametrize("adapters", [0, 1, 3])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m", "knots"])
def test_a_merge_is_refined_matrix_by_matrix(tmp_path: Path, method: str, adapters: int) -> None:
    """The written bytes are base + scale * reference(refinements) of the method's own merge."""
    family = models.write_family(tmp_path, adapters=adapters)
    entries = [{"path": place, "weight": w} for place, w in zip(family["models"], (1.0, 0.5, 2.0), strict=True)]
    recipe = {**family, "models": entries, "method": method, "scale": 0.7, "seed": 3}
    refine: list[Any] = ["svc", {"name": "norm", "target": "root_sum_square", "factor": 0.5}]
    mg.merge(recipe, tmp_path / "merged", workers=1)
    run = mg.merge({**recipe, "refine": refine}, tmp_path / "refined", workers=1)
    base, own = models.loaded(Path(family["base"])), models.loaded(tmp_path / "refined")
    apart = {}
    for t, entry in enumerate(entries):  # each task vector, times its weight, by a merge of that model alone
        mg.merge({**family, "models": [entry], "method": "task_arithmetic"}, tmp_path / f"alone{t}", workers=1)
        apart[t] = models.loaded(tmp_path / f"alone{t}")
    merged = models.loaded(tmp_path / "merged")
    changed = 0
    for name, weight in base.items():
        if not (is_matrix(name, weight.shape) and not torch.equal(merged[name], weight)):
            assert torch.equal(own[name], merged[name]), name
            continue
        taus = [(apart[t][name].double() - weight.double()).numpy() for t in range(3)]
        tau = ((merged[name].double() - weight.double()) / 0.7).numpy()
        expected = reference.norm(reference.svc(tau, taus), taus, target="root_sum_square", factor=0.5)
        found = (own[name].double() - weight.double()).numpy() / 0.7
        assert float(abs(found - expected).max()) <= 1e-4 * float(abs(expected).max()) + 1e-6, name
        changed += 1
    assert changed == next(step.tensors for step in run.refinements) > 0


@pytest.mark.suite
def test_any_number_of_workers_refines_the_same(tmp_path: Path) -> None:
    """Processes take long to start: every method, on models and an adapter, in one merge."""
    shapes = {f"layer.{number}.dense.weight": (8, 6) for number in range(4)}
    family = models.write_family(tmp_path, shapes=shapes)
    factors = models.random_factors(0, {name.removesuffix(".weight"): shape for name, shape in shapes.items()})
    models.write_adapter(tmp_path / "adapter", factors)
    rules = [{"match": f"layer.{n}.*", "method": name} for n, name in enumerate(("task_arithmetic", "ties", "knots"))]
    recipe = {
        **family, "models": [*family["models"][1:], str(tmp_path / "adapter")], "method": "tsv_m", "tensors": rules,
        "refine": ["svc", {"name": "norm", "target": "root_sum_square", "factor": 0.5}],
    }  # fmt: skip
    one, two = (mg.merge(recipe, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert {tensor.method for tensor in one.tensors} == {
        f"{name} + svc + norm" for name in ("task_arithmetic", "ties", "knots", "tsv_m")
    }
    assert one.digest == two.digest


def test_an_adapter_is_written_refined(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, adapters=3)
    recipe = {**family, "method": "tsv_m", "refine": ["svc", "norm"]}
    mg.merge({**recipe, "output": {"adapter": True}}, tmp_path / "adapter", workers=1)
    mg.merge(recipe, tmp_path / "whole", workers=1)
    mg.merge({**family, "models": [str(tmp_path / "adapter")], "method": "task_arithmetic"}, tmp_path / "folded")
    folded = models.loaded(tmp_path / "folded")
    for name, tensor in models.loaded(tmp_path / "whole").items():
        assert torch.allclose(tensor, folded[name], atol=1e-5), name


def test_it_stands_in_plan_record_and_card(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    recipe = {**family, "method": "tsv_m", "refine": ["svc", {"name": "norm", "factor": 0.5}]}
    plan = mg.make_plan(recipe)
    assert {task.steps for task in plan.tasks if task.kind == "matrix"} == {"tsv_m + svc + norm"}
    assert all(not task.refinements for task in plan.tasks if task.kind != "matrix")
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    assert read_record(tmp_path / "out") == run
    assert [(step.name, dict(step.parameters)) for step in run.refinements] == [
        ("svc", {"alpha": "auto"}),
        ("norm", {"target": "mean", "factor": 0.5}),
    ]
    assert {tensor.method for tensor in run.tensors} >= {"tsv_m + svc + norm", "average"}
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| then svc |" in card and "2602.05536" in card and 'name: "norm"' in card
    plain_run = mg.merge({**family, "method": "tsv_m"}, tmp_path / "plain", workers=1)
    assert "refinements" not in plain_run.to_json() and "then" not in (tmp_path / "plain" / "README.md").read_text(
        "utf-8"
    )


def test_the_command_line_knows_them(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["methods", "--json"]).stdout)
    assert {each["name"] for each in listed if each["kind"] == "refinement"} == set(registry.names())
    assert (
        json.loads(runner.invoke(app, ["methods", "svc", "--json"]).stdout)["parameters"]["alpha"]["default"] == "auto"
    )
    assert runner.invoke(app, ["methods", "svcc"]).exit_code != 0
    family = models.write_family(tmp_path)
    (tmp_path / "recipe.yaml").write_text(json.dumps({**family, "method": "iso_c", "refine": ["norm"]}))
    shown = runner.invoke(app, ["plan", str(tmp_path / "recipe.yaml")]).stdout
    assert "iso_c + norm" in shown


def test_every_refinement_has_a_section() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8").split("# Refinements", 1)[1]
    assert [name for name in registry.names() if f"\n## {name}\n" not in page] == []


def test_task_vectors_are_loaded_when_they_are_asked_for() -> None:
    asked: list[int] = []

    class Loaded(list[torch.Tensor]):
        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            return torch.ones(2, 2) * index

    deltas = WeighedDeltas(Loaded(), [1.0, 2.0, 0.5])
    assert len(deltas) == 3 and not asked
    assert [float(plain(delta)[0, 0]) for delta in deltas] == [0.0, 2.0, 1.0]
    assert asked[:3] == [0, 1, 2] and len(deltas[1:]) == 2
    mixed: list[Delta] = [thin(0, 3, 2), torch.ones(3, 2)]
    close(plain(accumulate(WeightedSum([2.0, 3.0]), len(mixed), mixed.__getitem__)), 2 * plain(mixed[0]) + 3)
