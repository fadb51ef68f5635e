"""Passes against the objective written out in float64: values, gradients, threads, checkpointing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeometry.encoders.batches import Chosen, Sampler, pack, split
from mergeometry.learning import forward_backward
from mergeometry.learning.build_learner import HELD_OUT_MOST, LOOKED_AT, Prepared
from mergeometry.learning.coefficients import layer_of
from mergeometry.learning.forward_backward import Passes
from mergeometry.plan import Plan
from tests.helpers import learning_reference as reference
from tests.helpers import models
from tests.helpers.learning_models import prepared_from
from tests.helpers.learning_runs import DISTILL, MDA, moved, plan_of

GRANULARITIES = ("task", "layer", "tensor", "direction", "pair")


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
    prepared = prepared_from(plan)
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
    prepared = prepared_from(plan)
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
    prepared = prepared_from(plan_of(inputs, {**settings, "coefficients": "direction"}))
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
    prepared = prepared_from(plan_of(inputs, {**settings, "coefficients": "pair"}))
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


def test_checkpointing_computes_blocks_again_with_the_merged_weights(
    inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.bert.modeling_bert import BertLayer

    prepared = prepared_from(plan_of(inputs, {**MDA, "coefficients": "direction"}))
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


@pytest.mark.parametrize(("granularity", "coupled"), [("direction", False), ("pair", True), ("tensor", False)])
def test_factors_give_the_gradient_of_whole_weights(
    adapters: dict[str, Any], granularity: str, coupled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coefficients of adapters from the factors of a weight's gradient, against that gradient as a whole."""
    prepared = prepared_from(plan_of(adapters, {**DISTILL, "coefficients": granularity}, method="task_arithmetic"))
    moved(prepared)
    chosen, found = [Chosen(task, row) for task in range(3) for row in range(5)], {}
    for way in ("factors", "whole"):
        if way == "whole":
            monkeypatch.setattr(forward_backward, "contracts", lambda *_: False)
        passes = Passes(prepared.scene, 1)
        assert bool(passes.contracted) == (way == "factors")
        found[way] = passes.gradients(chosen, prepared.table)
        passes.close()
    factors, whole = found["factors"], found["whole"]
    assert factors.loss == whole.loss and factors.coefficients.keys() == whole.coefficients.keys()
    for name, gradient in whole.coefficients.items():
        assert (gradient.ndim == 2) == coupled
        assert close(factors.coefficients[name], gradient.double(), 1e-5), name
