"""Plain modules run under any weights, on any inputs that can be stacked, and say what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mergeometry.encoders.plain import PlainEncoder
from mergeometry.errors import DataError, MismatchError
from tests.helpers.encoder_models import run, texts


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.body(values))


def body(module: nn.Module, inputs: Any) -> Tensor:
    assert isinstance(module, Net)
    return module.body(inputs["values"] * inputs["scale"] if isinstance(inputs, dict) else inputs)


def test_a_plain_module_runs_under_any_weights() -> None:
    torch.manual_seed(0)
    net, other = Net().train(), Net().eval()
    encoder = PlainEncoder(net, body, 4)
    data = torch.randn(6, 5)
    inputs = encoder.prepare(data)
    assert (len(inputs), inputs.rows) == (6, (1,) * 6)
    torch.testing.assert_close(run(encoder, inputs), net.eval().body(data).detach())
    torch.testing.assert_close(run(encoder, inputs, dict(other.named_parameters())), other.body(data).detach())
    leaves = {name: weight.detach().requires_grad_() for name, weight in other.named_parameters()}
    encoder.features(encoder.module, leaves, encoder.batch(inputs.items)).sum().backward()
    assert leaves["body.0.weight"].grad is not None and leaves["head.weight"].grad is None
    # Nothing of the user's own module is touched.
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())
    assert encoder.module.get_parameter("body.0.weight").data_ptr() == net.body[0].weight.data_ptr()  # pyright: ignore


def test_plain_inputs_may_be_dictionaries_or_made_on_demand() -> None:
    class Lazy:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {"values": torch.full((5,), float(row)), "scale": torch.tensor([0.5])}

    torch.manual_seed(0)
    encoder = PlainEncoder(Net(), body, 4)
    inputs = encoder.prepare(Lazy())
    batch = encoder.batch([inputs.items[row] for row in (2, 0)])
    assert isinstance(encoder.module, Net)
    expected = encoder.module.body(torch.tensor([[1.0] * 5, [0.0] * 5]))
    torch.testing.assert_close(encoder.features(encoder.module, {}, batch), expected)


def test_a_plain_module_runs_under_names_of_a_file() -> None:
    encoder = PlainEncoder(Net(), body, 4, {"net.first": "body.0.weight", "net.head": None})
    assert encoder.names == {"net.first": "body.0.weight", "net.head": None}
    with pytest.raises(MismatchError, match=r"'body\.0\.weights', did you mean 'body\.0\.weight'\?"):
        PlainEncoder(Net(), body, 4, {"net.first": "body.0.weights"})


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda module, inputs: module(inputs), r"returns \[2, 3\], not a tensor of \[2, 4\]"),
        (lambda module, inputs: module.body(inputs).mean(), r"returns \[\]"),
        (lambda module, inputs: None, "returns a NoneType"),
        (lambda module, inputs: module.body(inputs).detach(), "do not depend on the weights"),
    ],
)
def test_feature_functions_that_do_not_fit(function: Any, said: str) -> None:
    encoder = PlainEncoder(Net(), function, 4)
    leaves = {name: encoder.base(name).clone().requires_grad_() for name in encoder.names}
    batch = encoder.batch(encoder.prepare(torch.randn(2, 5)).items)
    with pytest.raises(DataError, match=said):
        encoder.features(encoder.module, leaves, batch)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (texts(), "cannot read data of type UnlabelledData"),
        ("some text", "cannot read data of type str"),
        ([], "no inputs"),
        (torch.tensor(1.0), "no inputs"),
        (["some", "text"], "input is a str"),
        ([(torch.ones(5), 1)], "input is a tuple"),
        ([torch.ones(5), torch.ones(4)], "cannot be stacked"),
        ([{"values": torch.ones(5)}, {"value": torch.ones(5)}], "different names"),
    ],
)
def test_plain_data_that_do_not_fit(data: Any, said: str) -> None:
    encoder = PlainEncoder(Net(), body, 4)
    with pytest.raises(DataError, match=said):
        encoder.batch(encoder.prepare(data).items)
