"""Contracting layers against torch's own, in value and in every gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mergeometry.encoders.contracting import (
    ContractingEmbedding,
    ContractingLinear,
    Contraction,
    contracted,
    contracting,
    make_contracting,
)
from mergeometry.encoders.packed import packing_helps

pytestmark = pytest.mark.skipif(not packing_helps(), reason="this build of torch has no oneDNN")

PLACES = torch.tensor([[1, 4, 4, 0], [2, 4, 1, 0]])


class Whole(Contraction):
    """Puts the whole gradient together again."""

    def __init__(self, shape: torch.Size) -> None:
        self.total = torch.zeros(shape, dtype=torch.float64)

    def product(self, outputs: Tensor, inputs: Tensor) -> None:
        self.total += outputs.double().mT @ inputs.double()

    def rows(self, places: Tensor, gradients: Tensor) -> None:
        self.total.index_add_(0, places, gradients.double())


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(6, 8, padding_idx=0), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 12, bias=False), nn.Linear(12, 3)
    )


def gradients(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = module(PLACES)
        result.double().square().sum().backward()
    return result.detach(), {name: p.grad.double() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_layers_agree_with_those_of_torch(dtype: torch.dtype, bound: float) -> None:
    """Values and gradients against float64, with contractions and without, to the precision of the pass."""
    expected, wanted = gradients(network().double(), torch.float64)
    plain, given = network(), network()
    make_contracting(plain)
    make_contracting(given)
    found = {"plain": gradients(plain, dtype)}
    contractions = {name: Whole(given.get_parameter(name).shape) for name in contracting(given)}
    assert set(contracting(given).values()) == {ContractingLinear, ContractingEmbedding}
    with contracted(given, contractions):
        found["contracted"] = gradients(given, dtype)
    assert not found["contracted"][1].keys() & contractions.keys()
    found["contracted"][1].update({name: one.total for name, one in contractions.items()})
    for result, ours in found.values():
        assert result.dtype == dtype
        assert float((result.double() - expected).norm()) < bound * float(expected.norm())
        assert ours.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert float((ours[name] - gradient).norm()) < bound * float(gradient.norm()), name
    # Once it is over, the layers give their gradients to their weights again.
    assert gradients(given, dtype)[1].keys() == wanted.keys()


def test_only_plain_layers_change() -> None:
    """A layer that does more than a plain one keeps its class, and float64 keeps its precision."""

    class Own(nn.Linear):
        pass

    module = nn.Sequential(Own(4, 4), nn.Embedding(5, 4, max_norm=1.0), nn.Linear(4, 4)).double()
    made = copy.deepcopy(module)
    make_contracting(made)
    assert [type(layer) for layer in made] == [Own, nn.Embedding, ContractingLinear]
    inputs = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(made[2](inputs), module[2](inputs))
