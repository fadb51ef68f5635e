"""Learning against its definition: parts, gradients of a whole step, threads, checkpointing, resuming, divergence."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mergeometry.encoders.base import Inputs
from mergeometry.encoders.batches import Chosen, Sampler, generator, pack, split
from mergeometry.encoders.sites import Site
from mergeometry.errors import NumericalError
from mergeometry.execution.threads import one_thread
from mergeometry.learning.build_learner import HELD_OUT_MOST, LOOKED_AT, Prepared
from mergeometry.learning.coefficients import CoefficientTable, layer_of
from mergeometry.learning.forward_backward import Passes
from mergeometry.learning.from_plan import identity_of, prepare
from mergeometry.learning.learnable import Dense, Thin, learnable_of
from mergeometry.learning.merged import MergedModel
from mergeometry.learning.run import load_inputs
from mergeometry.learning.state_file import StateFile
from mergeometry.learning.train import Point, State
from mergeometry.methods import registry
from mergeometry.plan import Plan, make_plan
from mergeometry.recipe import load_recipe
from mergeometry.values import LowRank
from tests.helpers import learning_models, models
from tests.helpers import learning_reference as reference

pytest.importorskip("transformers")

CPU = torch.device("cpu")
CLASSES = (3, 4, 2)
GRANULARITIES = ("task", "layer", "tensor", "direction", "pair")
MDA = {"objective": "mda", "alpha": 0.7, "beta": 0.3, "rotation": "subspace"}
DISTILL = {"objective": "distill", "hidden": 0.4, "temperature": 1.5}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------- parts


def updates(kind: str, shape: tuple[int, int] = (9, 6)) -> list[Tensor | LowRank]:
    thin = [LowRank(drawn(t, shape[0], 2), torch.eye(2) * 0.7, drawn(10 + t, shape[1], 2)) for t in range(3)]
    return {
        "dense": [drawn(t, *shape) for t in range(3)],
        "thin": thin,
        "zero": [thin[0], LowRank.zero(*shape), thin[2]],
        "zeros": [LowRank.zero(*shape)] * 3,
        "mixed": [thin[0], drawn(5, *shape), LowRank.zero(*shape)],
    }[kind]


WITH_PARTS = [name for name in registry.names() if registry.find(name).has_parts]


@pytest.mark.parametrize("kind", ["dense", "thin", "zero", "zeros", "mixed"])
@pytest.mark.parametrize("name", WITH_PARTS)
def test_start_coefficients_give_the_scaled_merge(name: str, kind: str) -> None:
    settings: list[dict[str, Any]] = [{}]
    settings += [{"density": 0.4}] if name == "adamerging" else []
    settings += [{"simplex": simplex, "rank": 2} for simplex in ("tasks", "neurons", "none")] if name == "mda" else []
    for given in settings:
        method, deltas, weights = registry.build(name, given), updates(kind), [1.0, 0.5, 2.0]
        merged = method(deltas, weights)
        expected = 0.3 * (merged.dense(torch.float64) if isinstance(merged, LowRank) else merged.double())
        learnable = learnable_of(method.parts(deltas, weights))
        assert learnable.shape == (9, 6) and len(learnable.counts) == 3
        assert learnable.nbytes >= 4 * sum(learnable.counts)
        for granularity in (*GRANULARITIES, "fixed"):
            table = CoefficientTable(granularity, {"a.0.weight": learnable}, {"a.0.weight": 0.3})  # pyright: ignore
            found = learnable.update(table.of("a.0.weight")).double()
            assert torch.allclose(found, expected, atol=2e-6), (given, granularity)
            if isinstance(learnable, Thin):
                thin = learnable.low_rank(table.of("a.0.weight")).dense(torch.float64)
                assert torch.allclose(thin, expected, atol=2e-6), (given, granularity)
        if kind == "zeros" and method.stays_low_rank:
            assert isinstance(learnable, Thin) and learnable.counts == (0, 0, 0)


def test_a_part_is_one_tasks_alone() -> None:
    """Coefficients of one task at zero leave what the other tasks add."""
    deltas, weights = updates("dense"), [1.0, 0.5, 2.0]
    for name in WITH_PARTS:
        parts = registry.build(name, {}).parts(deltas, weights)
        learnable = learnable_of(parts)
        table = CoefficientTable("task", {"w": learnable}, {"w": 1.0})
        table.parameters["all@1.0"][1] = 0.0
        dense = [part.dense() if isinstance(part, LowRank) else part for part in parts]
        assert torch.allclose(learnable.update(table.of("w")), dense[0] + dense[2], atol=2e-5), name


@pytest.mark.parametrize("name", [name for name in registry.names() if name not in WITH_PARTS])
def test_methods_without_parts_say_so(name: str) -> None:
    method = registry.build(name, {})
    with pytest.raises(ValueError, match=f"{type(method).__name__} has no part for each task"):
        method.parts(updates("dense"), [1.0] * 3)


def learnables() -> list[tuple[str, Any, Tensor]]:
    left, right = drawn(1, 7, 5).double(), drawn(2, 4, 5).double()
    thin = Thin(left, drawn(3, 5).double().abs(), right, (2, 0, 3))
    dense = Dense(tuple(drawn(4 + t, 7, 4).double() for t in range(3)))
    vector = Dense(tuple(drawn(8 + t, 6).double() for t in range(2)))
    return [
        ("directions", thin, drawn(11, 5).double()),
        ("pairs", thin, drawn(12, 5, 5).double()),
        ("dense", dense, drawn(13, 3).double()),
        ("vector", vector, drawn(14, 2).double()),
    ]


@pytest.mark.parametrize("case", learnables(), ids=lambda case: case[0])
def test_pull_back_is_autograd(case: tuple[str, Any, Tensor]) -> None:
    _, learnable, coefficients = case

    def written_out(c: Tensor) -> Tensor:
        if isinstance(learnable, Dense):
            return sum((own * part for own, part in zip(c, learnable.parts, strict=True)), torch.zeros(()).double())
        middle = torch.diag(c * learnable.values)
        if c.ndim == 2:
            middle = c * torch.outer(learnable.values, learnable.values).sqrt()
        return learnable.left @ middle @ learnable.right.T

    assert torch.allclose(learnable.update(coefficients), written_out(coefficients), atol=1e-12)
    gradient = drawn(20, *learnable.shape).double()
    c = coefficients.clone().requires_grad_()
    (written_out(c) * gradient).sum().backward()
    assert c.grad is not None
    assert torch.allclose(learnable.pull_back(gradient, coefficients), c.grad, atol=1e-12)


def test_transposed_weights_pull_back_as_they_are_stored() -> None:
    """GPT-2 keeps (inputs, outputs), parts are (outputs, inputs)."""
    thin = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1))
    dense = Dense((drawn(4, 7, 4), drawn(5, 7, 4)))
    holder = nn.Linear(7, 4)  # its weight is (4, 7): the transposed one's shape

    class Held:
        names: Mapping[str, str] = {"w": "weight"}
        base = staticmethod(lambda name: holder.get_parameter(name).detach())

    for learnable in (thin, dense):
        for granularity in ("direction", "task"):
            merged = MergedModel(Held(), {"w": learnable}, [Site("w", "weight", True)])  # pyright: ignore
            table = CoefficientTable(granularity, {"w": learnable}, {"w": 0.4})
            parameter = next(iter(table.parameters.values()))
            parameter += 0.1 * drawn(6, *parameter.shape)
            weight = merged.weights(table, torch.float32)["weight"]
            assert torch.allclose(weight, holder.weight + learnable.update(table.of("w")).T)
            gradient = drawn(7, 4, 7)
            found = merged.pull_back(merged.sites[0], gradient, table)
            small = 1e-2
            for place in range(len(found)):
                moved = table.of("w").clone()
                moved[place] += small
                change = (learnable.update(moved) - learnable.update(table.of("w"))).T
                assert float((gradient * change).sum()) / small == pytest.approx(float(found[place]), abs=2e-3)


def test_gradients_gather_as_coefficients_spread() -> None:
    thin, dense = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1)), Dense((drawn(4, 5), drawn(5, 5)))
    tensors = {"m.layer.0.a.weight": thin, "m.layer.0.b.bias": dense, "m.layer.1.a.weight": thin}
    for granularity in GRANULARITIES:
        table = CoefficientTable(granularity, tensors, dict.fromkeys(tensors, 0.3))  # pyright: ignore
        flat = {name: drawn(8 + i, *table.of(name).shape) for i, name in enumerate(tensors)}
        gathered = table.gather(flat)
        for key, parameter in table.parameters.items():
            for place in range(parameter.numel()):
                before = {name: table.of(name).clone() for name in tensors}
                parameter.view(-1)[place] += 1.0
                change = sum(float((flat[name] * (table.of(name) - before[name])).sum()) for name in tensors)
                parameter.view(-1)[place] -= 1.0
                assert float(gathered[key].view(-1)[place]) == pytest.approx(change, abs=1e-5)
    assert set(CoefficientTable("layer", tensors, dict.fromkeys(tensors, 0.3)).parameters) == {
        "m.layer.0@0.3", "m.layer.1@0.3",
    }  # fmt: skip


def test_tensors_of_other_scales_share_no_coefficient() -> None:
    thin = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1))
    starts = {"a.weight": 0.3, "b.weight": 0.3 + 1e-9, "c.weight": 0.3}
    table = CoefficientTable("task", dict.fromkeys(starts, thin), starts)
    assert len(table.parameters) == 2
    assert all(float(table.of(name)[0]) == pytest.approx(start, rel=1e-7) for name, start in starts.items())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.layer.11.attention.self.query.weight", "encoder.layer.11"),
        ("bert.encoder.layer.1.output.dense.bias", "bert.encoder.layer.1"),
        ("embeddings.word_embeddings.weight", "embeddings"),
        ("transformer.h.3.mlp.c_fc.weight", "transformer.h.3"),
        ("model.norm.weight", "model"),
        ("lm_head.weight", "lm_head"),
        ("0.weight", "0"),
        ("weight", "weight"),
    ],
)
def test_layers_by_name(name: str, layer: str) -> None:
    assert layer_of(name) == layer


# ----------------------------------------------------------------------------------------------------- batches


def test_every_row_comes_once_a_round() -> None:
    rows = [[3, 5, 8, 9, 11], [0, 1, 2]]
    sampler = Sampler(rows, 2, seed=4)
    drawn_ = [[one.row for number in range(15) for one in sampler.step(number) if one.task == task] for task in (0, 1)]
    for own, found in zip(rows, drawn_, strict=True):
        rounds = [found[first : first + len(own)] for first in range(0, len(found), len(own))]
        assert all(sorted(one) == own for one in rounds)
        assert len({tuple(one) for one in rounds}) > 1, "every round in the same order"


def test_a_step_is_a_function_of_seed_and_number() -> None:
    rows = [list(range(10)), list(range(7))]
    forwards, backwards = Sampler(rows, 3, 1), Sampler(rows, 3, 1)
    there = [forwards.step(number) for number in range(12)]
    assert there == [backwards.step(number) for number in reversed(range(12))][::-1]
    assert there != [Sampler(rows, 3, 2).step(number) for number in range(12)]
    assert [one.task for one in there[0]] == [0, 0, 0, 1, 1, 1]
    assert generator("a", 1).initial_seed() != generator("a", 2).initial_seed()


@pytest.mark.parametrize(
    ("count", "share", "most"), [(1, 0.5, 9), (2, 0.5, 9), (100, 0.1, 50), (100, 0.5, 7), (9, 0, 9)]
)
def test_split_parts_all_rows(count: int, share: float, most: int) -> None:
    learned, held = split(count, share, most, 3, 0)
    assert sorted(learned + held) == list(range(count)) and learned == sorted(learned)
    assert len(held) == min(int(count * share), most, count - 1)
    assert (learned, held) == split(count, share, most, 3, 0)
    if 1 < len(held) < count // 2:
        assert held != split(count, share, most, 4, 0)[1] != split(count, share, most, 4, 1)[1]


def test_pack_covers_everything_once_within_the_budget() -> None:
    sizes = [3, 17, 1, 9, 9, 2, 30, 4]
    inputs = [Inputs(range(8), tuple(sizes), (1,) * 8), Inputs(range(3), (5, 6, 7), (2, 2, 2))]
    chosen = [Chosen(0, row) for row in range(8)] + [Chosen(1, row) for row in (2, 0, 1)]
    for budget in (1, 8, 18, 40, 1000):
        packs = pack(chosen, inputs, budget)
        flat = [one for part in packs for one in part]
        assert sorted(flat, key=lambda one: (one.task, one.row)) == sorted(chosen, key=lambda one: (one.task, one.row))
        for part in packs:
            longest = max(inputs[one.task].sizes[one.row] for one in part)
            assert len(part) == 1 or longest * len(part) <= budget
        assert packs == pack(chosen[::-1], inputs, budget), "packs depend on the order of what is chosen"
    assert len(pack(chosen, inputs, 1000)) == 1


# --------------------------------------------------------------------------------------- gradients of a whole step


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"), CLASSES)


def plan_of(inputs: Mapping[str, Any], settings: Mapping[str, Any], **recipe: Any) -> Plan:
    recipe = {"method": "mda", "scale": 0.4, "seed": 5, **recipe}
    return make_plan(load_recipe(learning_models.with_settings(inputs, settings, **recipe)))


def prepared_of(plan: Plan, workers: int = 1) -> Prepared:
    section = plan.recipe.adapt
    assert section is not None
    silent: Any = lambda *_: None  # noqa: E731
    data, encoder, heads = load_inputs(plan, section, CPU, silent)
    with one_thread():
        return prepare(plan, section, encoder, data, heads, workers=workers, say=silent)


def moved(prepared: Prepared, size: float = 0.2) -> None:
    """Away from the start, where much is zero or symmetric."""
    with torch.no_grad():
        for place, value in enumerate(prepared.table.parameters.values()):
            value.add_(drawn(60 + place, *value.shape), alpha=0.1)
        for place, rotation in enumerate(prepared.scene.rotations):
            if rotation is not None:
                rotation.coordinates += size * drawn(40 + place, *rotation.coordinates.shape)


class Written:
    """The same objective from the files, in float64."""

    def __init__(self, plan: Plan, prepared: Prepared, simplex: bool) -> None:
        import transformers

        section = plan.recipe.adapt
        assert section is not None
        self.section, self.prepared = section, prepared
        self.model = transformers.AutoModel.from_pretrained(plan.base.path, attn_implementation="eager").double().eval()
        base = models.loaded(plan.base.path)
        experts = [models.loaded(model.path) for model in plan.models]
        self.base = {name: tensor.double() for name, tensor in base.items()}
        self.parts: dict[str, list[Tensor]] = {}
        for name, tensor in base.items():
            taus = [expert[name].double() - tensor.double() for expert in experts]
            matrix = tensor.ndim == 2 and "embed" not in name
            self.parts[name] = reference.shared_parts(taus, simplex) if matrix else [tau / len(taus) for tau in taus]
        self.rank = {name: min(tensor.shape) // len(experts) for name, tensor in base.items() if tensor.ndim == 2}
        self.experts = [{name: tensor.double() for name, tensor in expert.items()} for expert in experts]

    def weights(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, parts in self.parts.items():
            matrix = name in self.rank and "embed" not in name
            granularity = self.section.coefficients
            key = {"task": "all@0.4", "layer": f"{layer_of(name)}@0.4"}.get(granularity, name)
            c = values[key]
            if granularity in ("direction", "pair") and matrix:
                U, S, V = reference.directions(parts, self.rank[name])
                middle = c * S if c.ndim == 1 else c * torch.outer(S, S).sqrt()
                update = U @ (torch.diag(middle) if c.ndim == 1 else middle) @ V.T
            else:
                update = sum((c[t] * part for t, part in enumerate(parts)), torch.zeros(()).double())
            found[name] = self.base[name] + update
        return found

    def tokens(self, task: int, rows: Sequence[int]) -> list[list[int]]:
        texts = [
            json.loads(line)["text"] for line in Path(self.section.tasks[task].data.path or "").read_text().splitlines()
        ]
        return [[4 + int(word[1:]) for word in texts[row].split()] for row in rows]

    def task(self, task: int, rows: Sequence[int]) -> reference.Task:
        head = self.prepared.heads[task]
        assert head is not None
        found = reference.Task((head.weight, head.bias))
        rotation: Any = self.prepared.scene.rotations[task]
        if rotation is not None:
            found.E, found.Q = reference.prototypes(head.weight), rotation.basis
        if self.section.weights.distill or self.section.weights.hidden:
            everything = reference.features(self.model, self.experts[task], self.tokens(task, range(40)))
            found.expert, found.energy = everything[list(rows)], float((everything**2).sum(dim=1).mean())
        return found

    def features(self, values: Mapping[str, Tensor], rows: Sequence[Sequence[int]]) -> list[Tensor]:
        weights = self.weights(values)
        return [reference.features(self.model, weights, self.tokens(task, own)) for task, own in enumerate(rows)]


def leaves(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().double().requires_grad_() for key, value in values.items()}


def close(found: Tensor, expected: Tensor | None, bound: float = 2e-4) -> bool:
    assert expected is not None
    assert found.shape == expected.shape
    assert bool(expected.any()), "nothing to compare with"
    # Biases of keys change no attention: what comes of them is rounding.
    return float((found.double() - expected).norm()) < bound * float(expected.norm()) + 1e-8


ROWS = ([3, 17, 4, 30, 9], [0, 8, 21], [5, 6, 7, 39])
CHOSEN = [Chosen(task, row) for task, own in enumerate(ROWS) for row in own]


@pytest.mark.parametrize("settings", [MDA, DISTILL], ids=["mda", "distill"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_pass_is_the_objective(inputs: dict[str, Any], granularity: str, settings: dict[str, Any]) -> None:
    """Value and gradients of one step against autograd of the objective written out in float64."""
    simplex = settings is MDA
    plan = plan_of(inputs, {**settings, "coefficients": granularity}, method="mda" if simplex else "tsv_m")
    prepared = prepared_of(plan)
    moved(prepared)
    written = Written(plan, prepared, simplex)
    values = leaves(prepared.table.parameters)
    turns: list[Tensor | None] = [
        None if rotation is None else rotation.turn().detach().clone().requires_grad_()
        for rotation in prepared.scene.rotations
    ]
    tasks = [written.task(task, rows) for task, rows in enumerate(ROWS)]
    # The distance of rotations is no part of a pass; the learner adds it once a step.
    loss = reference.objective(
        written.features(values, ROWS), turns, tasks, replace(written.section.weights, beta=0.0),
        written.section.temperature,
    )  # fmt: skip
    loss.backward()
    passes = Passes(prepared.scene, 1)
    found = passes.gradients(CHOSEN, prepared.table)
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    for key, gradient in prepared.table.gather(found.coefficients).items():
        unused = key.startswith("pooler")
        assert bool(gradient.any()) != unused, key
        assert unused or close(gradient, values[key].grad), key
    for task, turn in enumerate(turns):
        assert turn is None or close(found.turns[task], turn.grad)
    only_value = passes.values(CHOSEN, prepared.table)
    assert only_value.loss == pytest.approx(found.loss, rel=1e-6) and not only_value.coefficients
    passes.close()


def test_a_learning_step_is_the_whole_objective(inputs: dict[str, Any]) -> None:
    """With beta: the running class means, the Procrustes targets, and the gradients of the rotations' coordinates."""
    settings = {**MDA, "coefficients": "layer", "steps": 1, "batch_size": 6, "held_out": 0.2, "check_every": 1}
    plan = plan_of(inputs, settings)
    prepared = prepared_of(plan)
    written = Written(plan, prepared, simplex=True)
    splits = [split(40, 0.2, HELD_OUT_MOST, 5, task) for task in range(3)]
    looked = [rows[:LOOKED_AT] for rows, _ in splits]
    step = Sampler([rows for rows, _ in splits], 6, 5).step(0)
    rows = [[one.row for one in step if one.task == task] for task in range(3)]
    tasks = [written.task(task, own) for task, own in enumerate(rows)]
    with torch.no_grad():
        for task, z in zip(tasks, written.features(leaves(prepared.table.parameters), looked), strict=True):
            predicted = task.logits(z).argmax(dim=1)
            task.means = reference.class_sums(z, predicted, len(task.head[0]))
            assert task.E is not None and task.Q is not None
            means = task.means[0] / task.means[1].clamp(min=1)
            for vectors in (task.E, means):
                assert torch.allclose(task.Q @ task.Q.T @ vectors, vectors, atol=1e-5), "outside the rotation's span"
    moved(prepared, size=0.05)
    values = leaves(prepared.table.parameters)
    rotations: list[Any] = list(prepared.scene.rotations)
    coordinates = [rotation.coordinates.detach().double().requires_grad_() for rotation in rotations]
    turns = [reference.rotation_at(c, own.size) for c, own in zip(coordinates, rotations, strict=True)]
    loss = reference.objective(written.features(values, rows), turns, tasks, written.section.weights, 1.0)
    loss.backward()
    state = prepared.learner.learn(lambda point: None, lambda state: None)
    assert state.points[1].loss == pytest.approx(float(loss.detach()), rel=1e-4)
    assert set(state.points[1].terms) == {"entropy", "align", "rotation"}
    for key, parameter in prepared.table.parameters.items():
        assert parameter.grad is not None
        assert key.startswith("pooler") or close(parameter.grad, values[key].grad, 1e-3), key
    for expected, rotation in zip(coordinates, rotations, strict=True):
        assert close(rotation.coordinates.grad, expected.grad, 1e-3)


@pytest.mark.parametrize("settings", [MDA, DISTILL], ids=["mda", "distill"])
def test_gradients_do_not_depend_on_packing(inputs: dict[str, Any], settings: dict[str, Any]) -> None:
    prepared = prepared_of(plan_of(inputs, {**settings, "coefficients": "direction"}))
    moved(prepared)
    encoder, found = prepared.scene.merged.encoder, []
    for budget in (1, 25, 1024):
        encoder.budget = budget
        passes = Passes(prepared.scene, 1)
        found.append(passes.gradients(CHOSEN, prepared.table))
        passes.close()
    for other in found[1:]:
        assert other.loss == pytest.approx(found[0].loss, rel=1e-5)
        assert set(other.terms) == set(found[0].terms)
        for key, value in other.terms.items():
            assert value == pytest.approx(found[0].terms[key], rel=1e-4), key
        for name, gradient in other.coefficients.items():
            assert close(gradient, found[0].coefficients[name].double()), name
        for task, turn in other.turns.items():
            assert close(turn, found[0].turns[task])
        for task, (total, count) in other.sums.items():
            assert torch.equal(count, found[0].sums[task][1])
            assert torch.allclose(total, found[0].sums[task][0], atol=1e-4)


@pytest.mark.parametrize("settings", [MDA, DISTILL], ids=["mda", "distill"])
def test_any_number_of_threads_gives_the_same_bits(inputs: dict[str, Any], settings: dict[str, Any]) -> None:
    prepared = prepared_of(plan_of(inputs, {**settings, "coefficients": "pair"}))
    moved(prepared)
    prepared.scene.merged.encoder.budget = 12
    found = []
    for workers in (1, 2, 3, 2):
        passes = Passes(prepared.scene, workers)
        found.append(passes.gradients(CHOSEN, prepared.table))
        passes.close()
    for other in found[1:]:
        assert other.loss == found[0].loss and other.terms == found[0].terms
        assert all(torch.equal(value, found[0].coefficients[name]) for name, value in other.coefficients.items())
        assert all(torch.equal(value, found[0].turns[task]) for task, value in other.turns.items())
    assert bool(found[0].turns) == (settings is MDA)


# ----------------------------------------------------------------------------------------------- checkpointing


def test_checkpointing_computes_blocks_again_with_the_merged_weights(
    inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.bert.modeling_bert import BertLayer

    prepared = prepared_of(plan_of(inputs, {**MDA, "coefficients": "direction"}))
    moved(prepared)
    calls: list[float] = []
    original = BertLayer.forward

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(float(self.attention.self.query.weight.detach().double().sum()))
        return original(self, *arguments, **named)

    monkeypatch.setattr(BertLayer, "forward", counted)
    found, seen = [], []
    for checkpointing in (False, True):
        scene = replace(prepared.scene, checkpointing=checkpointing)
        passes = Passes(scene, 2)
        calls.clear()
        found.append(passes.gradients(CHOSEN, prepared.table))
        seen.append(list(calls))
        assert not passes.values(CHOSEN, prepared.table).coefficients
        passes.close()
    packs = len(pack(CHOSEN, prepared.scene.inputs, prepared.scene.merged.encoder.budget))
    assert len(seen[0]) == 2 * packs, "two blocks in each pass"
    assert len(seen[1]) == 4 * packs, "each of them computed again"
    weights = prepared.scene.merged.weights(prepared.table, torch.float32)
    merged = {float(value.double().sum()) for name, value in weights.items() if name.endswith("query.weight")}
    assert set(seen[1]) == merged, "blocks were computed again with other weights than the merged ones"
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-6)
    for name, gradient in found[1].coefficients.items():
        assert close(gradient, found[0].coefficients[name].double(), 1e-5), name
    assert set(found[1].coefficients) == set(found[0].coefficients)


# ------------------------------------------------------------------------------- resuming, stopping, diverging


QUICK = {
    **MDA, "coefficients": "tensor", "steps": 12, "check_every": 4, "batch_size": 4, "held_out": 0.2,
    "learning_rate": 0.02, "rotation_learning_rate": 0.02, "patience": 0,
}  # fmt: skip

RISING = {
    **DISTILL, "coefficients": "tensor", "steps": 16, "check_every": 2, "batch_size": 4, "held_out": 0.4,
    "learning_rate": 4.0, "patience": 2,
}  # fmt: skip
"""At this rate the held-out objective soon rises."""


def outcome(prepared: Prepared) -> list[Tensor]:
    turned = [r.matrix().detach() for r in prepared.scene.rotations if r is not None]
    return [value.clone() for value in prepared.table.parameters.values()] + turned


def silent(_point: Point) -> None:
    pass


def stopping_at(step: int) -> Callable[[Point], None]:
    def report(point: Point) -> None:
        if point.step == step:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("stop", [1, 4, 7, 9, 12])
def test_an_interrupted_run_goes_on_to_the_same_bits(inputs: dict[str, Any], tmp_path: Path, stop: int) -> None:
    plan = plan_of(inputs, QUICK)
    whole = prepared_of(plan)
    finished = whole.learner.learn(silent, lambda state: None)
    kept = StateFile(tmp_path, "run")
    broken = prepared_of(plan, workers=2)
    with pytest.raises(KeyboardInterrupt):
        broken.learner.learn(stopping_at(stop), kept.write)
    earlier = kept.read()
    assert earlier is not None and earlier.step == max(0, stop - 1) // 4 * 4
    again = prepared_of(plan)
    again.learner.take(earlier)
    state = again.learner.learn(silent, kept.write)
    assert all(torch.equal(a, b) for a, b in zip(outcome(again), outcome(whole), strict=True))
    assert [(point.step, point.held_out) for point in state.points] == [
        (point.step, point.held_out) for point in finished.points
    ]
    assert (state.best, state.best_step) == (finished.best, finished.best_step)


def test_a_finished_course_is_taken_up_as_finished(inputs: dict[str, Any], tmp_path: Path) -> None:
    """Interrupted while weights were written: what had stopped early does not learn on."""
    plan = plan_of(inputs, RISING)
    kept = StateFile(tmp_path, "run")
    whole = prepared_of(plan)
    finished = copy.deepcopy(whole.learner.learn(silent, kept.write))
    assert finished.step < 16, "it was to stop early"
    earlier = kept.read()
    assert earlier is not None
    again = prepared_of(plan)
    again.learner.take(earlier)
    state = again.learner.learn(stopping_at(finished.step + 1), kept.write)
    assert state.step == finished.step
    assert all(torch.equal(a, b) for a, b in zip(outcome(again), outcome(whole), strict=True))


def test_the_best_held_out_state_is_kept(inputs: dict[str, Any]) -> None:
    """At a rate at which the objective soon rises: the parameters are those of its least value."""
    prepared = prepared_of(plan_of(inputs, RISING))
    seen: list[tuple[float, list[Tensor]]] = []

    def report(point: Point) -> None:
        if point.held_out is not None:
            seen.append((point.held_out, outcome(prepared)))

    state = prepared.learner.learn(report, lambda state: None)
    values = [value for value, _ in seen]
    assert state.best == min(values) and len(values) >= 3
    assert values.index(min(values)) < len(values) - 1, "the last was best: nothing to see"
    best = seen[values.index(min(values))][1]
    assert all(torch.equal(a, b) for a, b in zip(outcome(prepared), best, strict=True))
    waited = len(values) - 1 - values.index(min(values))
    assert waited == 2 or state.step == 16
    held = [rows for _, rows in (split(40, 0.4, HELD_OUT_MOST, 5, task) for task in range(3))]
    passes = Passes(prepared.scene, 1)
    again = passes.values([Chosen(task, row) for task, rows in enumerate(held) for row in rows], prepared.table)
    passes.close()
    terms = next(point.by_task for point in state.points if point.step == state.best_step)
    expected = sum(own["distill"] + 0.4 * own["hidden"] for own in terms.values()) / 3
    assert again.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rotation", ["subspace", "full"])
def test_rotations_stay_rotations(inputs: dict[str, Any], rotation: str) -> None:
    settings = {
        **QUICK,
        "rotation": rotation,
        "steps": 60,
        "check_every": 30,
        "rotation_learning_rate": 0.2,
        "coefficients": "fixed",
    }
    prepared = prepared_of(plan_of(inputs, settings))
    start = outcome(prepared)
    prepared.learner.learn(silent, lambda state: None)
    for task, own in enumerate(prepared.scene.rotations):
        assert own is not None
        R = own.matrix().detach().double()
        assert float((R @ R.T - torch.eye(16)).abs().max()) < 1e-5
        assert float(torch.linalg.det(R)) == pytest.approx(1.0, abs=1e-5)
        assert float((R - torch.eye(16)).norm()) > 0.3, f"rotation {task} hardly moved"
    count = len(prepared.table.parameters)
    assert all(torch.equal(a, b) for a, b in zip(start[:count], outcome(prepared)[:count], strict=True))


def test_a_full_rotation_follows_its_target_alone(inputs: dict[str, Any]) -> None:
    """Neither alignment nor a subspace asks for prototypes here, but the target does."""
    settings = {**QUICK, "rotation": "full", "alpha": 0.0, "entropy": 1e-6, "beta": 5.0, "coefficients": "fixed"}
    prepared = prepared_of(plan_of(inputs, {**settings, "steps": 80, "check_every": 40, "rotation_learning_rate": 0.1}))
    state = prepared.learner.learn(silent, lambda state: None)
    distances = [point.terms["rotation"] for point in state.points if point.terms]
    assert distances[-1] < 0.2 * distances[0]


@pytest.mark.parametrize("held_out", [0.2, 0.0])
@pytest.mark.parametrize("check_every", [1, 3])
def test_divergence_keeps_the_last_good_state(
    inputs: dict[str, Any], tmp_path: Path, held_out: float, check_every: int
) -> None:
    good = {**QUICK, "held_out": held_out, "check_every": check_every}
    kept = StateFile(tmp_path, "run")
    before = prepared_of(plan_of(inputs, good))
    with pytest.raises(KeyboardInterrupt):
        before.learner.learn(stopping_at(5), kept.write)
    earlier = kept.read()
    assert earlier is not None and earlier.step in (3, 4)
    wild = prepared_of(plan_of(inputs, {**good, "learning_rate": 1e30}))
    wild.learner.take(earlier)
    with pytest.raises(NumericalError, match=r"not finite at step \d+(.|\n)*lower adapt.learning_rate") as caught:
        wild.learner.learn(silent, kept.write)
    state = kept.read()
    assert state is not None and f"continues from step {state.step}," in str(caught.value)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.tensors.values())
    assert max(float(t.abs().max()) for name, t in state.tensors.items() if name.startswith("now/")) < 100
    tame = prepared_of(plan_of(inputs, {**good, "learning_rate": 1e-3}))
    tame.learner.take(state)
    assert tame.learner.learn(silent, kept.write).step == 12


def test_a_rotation_that_rounding_destroys_is_divergence(inputs: dict[str, Any]) -> None:
    prepared = prepared_of(plan_of(inputs, {**QUICK, "rotation_learning_rate": 1e25}))
    with pytest.raises(NumericalError, match="not finite at step"):
        prepared.learner.learn(silent, lambda state: None)


def test_a_merge_that_is_not_finite_to_begin_with(inputs: dict[str, Any]) -> None:
    prepared = prepared_of(plan_of(inputs, {**QUICK, "rotation": "none", "beta": 0.0}, scale=1e20))
    with pytest.raises(NumericalError, match=r"at step 0(.|\n)*lower `scale`"):
        prepared.learner.learn(silent, lambda state: None)


# --------------------------------------------------------------------------------------------------- state file


def test_the_state_of_learning_survives_a_file(tmp_path: Path) -> None:
    points = [Point(0, math.nan, {}, 1.5, {"a": {"entropy": 1.0}}), Point(1, 0.25, {"entropy": 1.0})]
    tensors = {"now/0 /\n weight": drawn(1, 3), "adam/step/x/y": torch.tensor(3.0), "best/rotation/é": drawn(2, 2, 2)}
    for best in (0.5, math.inf):
        kept = StateFile(tmp_path, "one")
        kept.write(State(1, best, 0, 1, points, tensors))
        found = kept.read()
        assert found is not None and (found.step, found.best, found.waited) == (1, best, 1)
        assert math.isnan(found.points[0].loss) and found.points[1:] == points[1:]
        assert found.points[0].by_task == points[0].by_task and found.points[0].held_out == 1.5
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
        assert set(found.tensors) == set(tensors)
        assert StateFile(tmp_path, "another").read() is None
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[: len(content) // 2])
    assert kept.read() is None, "half a file"
    kept.path.unlink()
    assert kept.read() is None


def test_rates_and_lengths_are_no_part_of_the_identity(inputs: dict[str, Any]) -> None:
    def identity(settings: Mapping[str, Any], heads: float = 0.0, **recipe: Any) -> str:
        plan = plan_of(inputs, {**QUICK, **settings}, **recipe)
        assert plan.recipe.adapt is not None
        data, _, found = load_inputs(plan, plan.recipe.adapt, CPU, lambda *_: None)
        return identity_of(plan, plan.recipe.adapt, data, [replace(h, bias=h.bias + heads) for h in found if h])

    own = identity({})
    for free in (
        {"steps": 99},
        {"learning_rate": 0.5},
        {"rotation_learning_rate": 1.0},
        {"patience": 3},
        {"check_every": 2},
    ):
        assert identity(free) == own, free
    assert identity({}, output={"dtype": "float16"}) == own
    for other in ({"batch_size": 5}, {"alpha": 0.5}, {"coefficients": "layer"}, {"held_out": 0.3}):
        assert identity(other) != own, other
    assert identity({}, seed=6) != own and identity({}, scale=0.5) != own and identity({}, method="tsv_m") != own
    assert identity({}, heads=0.1) != own, "other heads, the same identity"
