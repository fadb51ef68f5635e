"""`mergeometry.learn` on plain modules: exact where the answer is known, better than data-free merges elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mergeometry as mg
from mergeometry.errors import DataError, MismatchError, NumericalError, RecipeError

State = dict[str, Tensor]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state_of(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def with_state(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    loaded = copy.deepcopy(module)
    loaded.load_state_dict(dict(state))
    return loaded.eval()


def run(module: nn.Module, inputs: Tensor) -> Tensor:
    return module(inputs)


# ------------------------------------------------------------------------------- where the best merge is known


def apart() -> tuple[nn.Module, dict[str, State], dict[str, Tensor]]:
    """Two experts whose updates answer to inputs of two halves: the sum of both is each of them on its own task."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 10, bias=False), nn.Tanh())
    experts, data = {}, {}
    for task, half in (("low", slice(0, 6)), ("high", slice(6, 12))):
        update = torch.zeros(10, 12)
        update[:, half] = drawn(half.start + 1, 10, 2) @ drawn(half.start + 2, 2, 6) / 2
        experts[task] = {"0.weight": module.state_dict()["0.weight"] + update}
        inputs = torch.zeros(150, 12)
        inputs[:, half] = drawn(half.start + 3, 150, 6)
        data[task] = inputs
    return module, experts, data


@pytest.mark.parametrize("coefficients", ["task", "tensor", "direction", "pair"])
@pytest.mark.parametrize("method", ["adamerging", "tsv_m"])
def test_it_finds_the_sum_of_experts_that_do_not_meet(method: str, coefficients: str) -> None:
    from mergeometry.methods import registry

    module, experts, data = apart()
    if method == "tsv_m":
        # Left directions of the two tasks overlap, and whitening turns both: with these the optimum is another.
        for task, rows in (("low", slice(5, 10)), ("high", slice(0, 5))):
            experts[task]["0.weight"][rows] = module.state_dict()["0.weight"][rows]
    fit = {task: inputs[:100] for task, inputs in data.items()}
    before = state_of(module)
    learned = mg.learn(
        module, experts, fit, run, method=registry.build(method, {}), distill=0.0, hidden=1.0,
        coefficients=coefficients,
        steps=120, learning_rate=0.05, batch_size=32, patience=0,
    )  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    for task, inputs in data.items():
        with torch.no_grad():
            found = with_state(module, learned.state_dict)(inputs[100:])
            expected = with_state(module, experts[task])(inputs[100:])
            start = with_state(module, before)(inputs[100:])
        assert float((found - expected).norm() / (start - expected).norm()) < 0.05
    if coefficients == "task":
        (found,) = learned.coefficients.values()
        assert torch.allclose(found, torch.ones(2), atol=0.05)
    assert not learned.heads and not learned.rotations and not learned.notes
    assert learned.points[-1].held_out is not None and learned.points[0].held_out is not None
    assert learned.points[-1].held_out < 0.01 * learned.points[0].held_out


# --------------------------------------------------------------------------------------- classification


def problem(task: int, split: int, count: int) -> tuple[Tensor, Tensor]:
    """Labelled points that vary in eight dimensions of the task's own: the class is the nearest of four centres."""
    x, own = 0.3 * drawn(1000 * task + split, count, 24), slice(8 * task, 8 * task + 8)
    x[:, own] *= 6
    return x, torch.cdist(x[:, own].tanh() * 3, 2 * drawn(50 + task, 4, 8)).argmin(dim=1)


class Network(nn.Module):
    """A convolution with a batch norm, two linear maps, and a head that features do not pass through."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(1, 6, 5, padding=2)
        self.norm = nn.BatchNorm1d(6)
        self.up = nn.Linear(144, 48)
        self.down = nn.Linear(48, 16)
        self.head = nn.Linear(16, 4)

    def encode(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.mix(x.unsqueeze(1)))).flatten(1)
        return torch.tanh(self.down(torch.relu(self.up(x))))


def trained(module: Network, x: Tensor, y: Tensor, steps: int) -> tuple[State, tuple[Tensor, Tensor]]:
    """Fine-tuned through a head of its own."""
    own = copy.deepcopy(module).train()
    torch.manual_seed(7)
    nn.init.normal_(own.head.weight, std=0.3)
    solver = torch.optim.Adam(own.parameters(), lr=3e-3, weight_decay=1e-3)
    order = torch.Generator().manual_seed(3)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (64,), generator=order)
        solver.zero_grad()
        nn.functional.cross_entropy(own.head(own.encode(x[rows])), y[rows]).backward()
        solver.step()
    head = (own.head.weight.detach().clone(), own.head.bias.detach().clone())
    own.head.load_state_dict(module.head.state_dict())
    return state_of(own), head


TASKS = {"a": 0, "b": 1, "c": 2}


@pytest.fixture(scope="module")
def suite() -> dict[str, Any]:
    torch.manual_seed(1)
    base = Network()
    pooled = [problem(number, 0, 1500) for number in TASKS.values()]
    # A common start, so that fine-tunes are near each other as they are in practice.
    state, _ = trained(base, torch.cat([x for x, _ in pooled]), torch.cat([y for _, y in pooled]), 60)
    base.load_state_dict(state)
    experts, heads = {}, {}
    for (task, _), (x, y) in zip(TASKS.items(), pooled, strict=True):
        experts[task], heads[task] = trained(base, x, y, 250)
    unlabelled = {task: problem(number, 1, 400)[0] for task, number in TASKS.items()}
    test = {task: problem(number, 2, 1000) for task, number in TASKS.items()}
    return {"base": base, "experts": experts, "heads": heads, "data": unlabelled, "test": test}


def encode(module: nn.Module, inputs: Tensor) -> Tensor:
    assert isinstance(module, Network)
    return module.encode(inputs)


def accuracy(suite: Mapping[str, Any], state: State, heads: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    module, found = with_state(suite["base"], state), {}
    for task, (x, y) in suite["test"].items():
        weight, bias = heads[task]
        with torch.no_grad():
            found[task] = float((nn.functional.linear(encode(module, x), weight, bias).argmax(1) == y).float().mean())
    return found


def mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def test_learning_gains_over_the_merges_that_it_starts_from(suite: dict[str, Any]) -> None:
    """Labelled points for experts, other unlabelled ones for learning (a tenth held out), and others still to judge."""
    experts, heads = suite["experts"], suite["heads"]
    own = mean({task: accuracy(suite, experts[task], heads)[task] for task in TASKS})
    average = {
        name: torch.stack([state[name] for state in experts.values()]).to(torch.float64).mean(dim=0).to(tensor.dtype)
        for name, tensor in experts["a"].items()
    }
    learned = mg.learn(
        suite["base"], experts, suite["data"], encode, heads=heads, coefficients="pair", steps=150, seed=2,
        batch_size=32,
    )  # fmt: skip
    start = mg.learn(
        suite["base"], experts, suite["data"], encode, heads=heads, coefficients="pair", steps=1, learning_rate=1e-12,
    )  # fmt: skip
    scores = {
        "experts": own, "average": mean(accuracy(suite, average, heads)),
        "start": mean(accuracy(suite, start.state_dict, start.heads)),
        "learned": mean(accuracy(suite, learned.state_dict, learned.heads)),
    }  # fmt: skip
    assert scores["experts"] > 0.8, scores
    free = max(scores["average"], scores["start"])
    assert scores["learned"] > free + 0.04, scores
    assert scores["learned"] > free + 0.5 * (scores["experts"] - free), scores


def test_rotations_of_plain_modules_fold_into_heads(suite: dict[str, Any]) -> None:
    settings = {"objective": "mda", "steps": 12, "rotation_learning_rate": 0.05, "check_every": 4, "patience": 0}
    first, again, other = (
        mg.learn(suite["base"], suite["experts"], suite["data"], encode, heads=suite["heads"], seed=seed, **settings)
        for seed in (1, 1, 2)
    )
    assert set(first.rotations) == set(TASKS)
    for task, rotation in first.rotations.items():
        R = rotation.double()
        assert float((R @ R.T - torch.eye(16)).abs().max()) < 1e-5 and float(torch.linalg.det(R)) > 0
        weight, bias = first.heads[task]
        assert torch.allclose(weight, suite["heads"][task][0] @ rotation, atol=1e-5)
        assert torch.equal(bias, suite["heads"][task][1])
    assert all(torch.equal(value, again.state_dict[name]) for name, value in first.state_dict.items())
    assert any(not torch.equal(value, other.state_dict[name]) for name, value in first.state_dict.items())
    threaded = mg.learn(
        suite["base"], suite["experts"], suite["data"], encode, heads=suite["heads"], seed=1, threads=3, **settings
    )
    assert all(torch.equal(value, threaded.state_dict[name]) for name, value in first.state_dict.items())


def test_the_state_dict_is_whole_and_keeps_dtypes(suite: dict[str, Any]) -> None:
    base = copy.deepcopy(suite["base"])
    base.down.double()
    experts = {task: {n: t.to(base.state_dict()[n]) for n, t in s.items()} for task, s in suite["experts"].items()}
    learned = mg.learn(base, experts, suite["data"], encode, heads=suite["heads"], steps=2)
    own = base.state_dict()
    assert {name: t.dtype for name, t in learned.state_dict.items()} == {name: t.dtype for name, t in own.items()}
    running = torch.stack([state["norm.running_var"] for state in experts.values()]).mean(dim=0)
    assert torch.allclose(learned.state_dict["norm.running_var"], running)
    assert torch.equal(learned.state_dict["norm.num_batches_tracked"], own["norm.num_batches_tracked"])
    assert torch.equal(learned.state_dict["head.weight"], own["head.weight"])
    assert not torch.equal(learned.state_dict["mix.weight"], own["mix.weight"])


def test_shared_weights_stay_shared() -> None:
    module, _, data = apart()
    torch.manual_seed(3)
    inner = nn.Linear(10, 10, bias=False)
    module = nn.Sequential(module, inner, nn.Tanh(), inner)
    states = {}
    for task, (name, seed) in zip(data, (("0.0.weight", 1), ("1.weight", 2)), strict=True):
        own = copy.deepcopy(module)
        own.get_parameter(name).data += 0.2 * drawn(seed, *own.get_parameter(name).shape)
        states[task] = state_of(own)
    learned = mg.learn(module, states, data, run, distill=0.0, hidden=1.0, steps=5, coefficients="tensor")
    assert torch.equal(learned.state_dict["1.weight"], learned.state_dict["3.weight"])
    assert not torch.equal(learned.state_dict["1.weight"], module.state_dict()["1.weight"])


def test_inputs_by_name() -> None:
    module, experts, data = apart()
    named = {task: [{"x": row, "twice": 2 * row} for row in inputs] for task, inputs in data.items()}
    plain = {"distill": 0.0, "hidden": 1.0, "steps": 4, "coefficients": "task"}

    def named_run(given: nn.Module, inputs: Any) -> Tensor:
        return given(inputs["twice"] - inputs["x"])

    first = mg.learn(module, experts, data, run, **plain)
    second = mg.learn(module, experts, named, named_run, **plain)
    assert torch.allclose(first.state_dict["0.weight"], second.state_dict["0.weight"], atol=1e-6)


# ------------------------------------------------------------------------------------------------- bad input


def spoilt(state: State, **changes: Tensor | None) -> State:
    whole: dict[str, Any] = {**state, **{name.replace("_", "."): value for name, value in changes.items()}}
    return {name: tensor for name, tensor in whole.items() if tensor is not None}


Change = Callable[[dict[str, Any]], None]
BAD: dict[str, tuple[Change, type[Exception], str]] = {
    "a missing tensor": (
        lambda given: given["experts"].update(low=spoilt(given["experts"]["low"], **{"0_weight": None})),
        MismatchError, "low: '0.weight' is missing",
    ),
    "an extra tensor": (
        lambda given: given["experts"].update(low=spoilt(given["experts"]["low"], **{"0_wieght": torch.ones(1)})),
        MismatchError, "'0.wieght'.*did you mean '0.weight'",
    ),
    "another shape": (
        lambda given: given["experts"].update(low={"0.weight": torch.ones(10, 11)}),
        MismatchError, r"\[10, 11\], the module's \[10, 12\]",
    ),
    "not finite": (
        lambda given: given["experts"].update(low={"0.weight": torch.full((10, 12), torch.nan)}),
        NumericalError, "NaN or infinite.*low",
    ),
    "no data": (lambda given: given["data"].pop("high"), DataError, "no data for 'high'"),
    "data of nobody": (
        lambda given: given["data"].update(hihg=given["data"]["high"]), DataError, "did you mean 'high'",
    ),
    "labelled data": (
        lambda given: given["data"].update(low=[(row, 1) for row in given["data"]["low"]]), DataError, "tuple",
    ),
    "no head": (lambda given: given.update(objective="mda"), DataError, "no head is given for low, high"),
    "a head of another width": (
        lambda given: given.update(heads={"low": (torch.ones(3, 9), None)}), DataError, r"\(classes, 10\).*\[3, 9\]",
    ),
    "features of nothing": (
        lambda given: given.update(features=lambda module, x: x), DataError, "depend on",
    ),
    "features of another shape": (
        lambda given: given.update(features=lambda module, x: module(x)[0]), DataError, r"returns \[10\] for one input",
    ),
    "a method without parts": (
        lambda given: given.update(method=mg.methods.IsoC()), RecipeError, "IsoC has no part for each task",
    ),
    "an unknown setting": (lambda given: given.update(stesp=3), RecipeError, "unknown key 'stesp'.*'steps'"),
    "a setting out of range": (lambda given: given.update(steps=0), RecipeError, "steps"),
    "experts like the module": (
        lambda given: given.update(experts=dict.fromkeys(given["data"], given["module"].state_dict())),
        DataError, "depend on no parameter that an expert changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input(case: str) -> None:
    change, kind, said = BAD[case]
    module, experts, data = apart()
    given: dict[str, Any] = {"module": module, "experts": experts, "data": data, "features": run}
    given |= {"distill": 0.0, "hidden": 1.0, "steps": 2}
    change(given)
    with pytest.raises(kind, match=f"(?s){said}"):
        mg.learn(**given)
