"""PCB: keep the entries that matter to their task and agree with the others, and weigh them by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.selection import magnitude_threshold, share_of
from mergeometry.methods.base import Elementwise, Sizes, Work, parameters


@parameters
class PCB(Elementwise):
    """Average the task vectors entry by entry, by how much an entry matters to its task and agrees with the others.

    Law, tensor by tensor, with ``x_ij = tau_i * tau_j`` over its largest magnitude, for N tasks and softmaxes over the
    entries: ``beta_i = softmax(N x_ii) * sum_j softmax(x_ij)``. The share ``density`` of largest ``beta_i`` is kept for
    each task, and ``tau = sum_i beta_i tau_i / sum_i beta_i`` over those kept; zero where none is. A model's weight
    multiplies its task vector first. Choices: products are divided by their largest magnitude, since the paper's norm
    is not defined there; scores are per tensor; entries of zero are not kept; those that tie at the threshold all are.
    """

    source: ClassVar[str] = (
        "Du et al. 2024, Parameter competition balancing for model merging, arXiv 2410.02396, section 3"
    )

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.1

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal task vectors have equal scores, in the order of their magnitudes for any number of tasks."""
        return "same"

    def extra_cost(self, sizes: Sizes) -> Work:
        """A softmax for each pair of tasks, in float64; scores, both sums, and what a threshold is taken from."""
        return Work(40.0 * sizes.elements * sizes.tasks**2, 8 * 11 * sizes.elements)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Score, drop, and average."""
        moves = [delta * weight for delta, weight in zip(deltas, weights, strict=True)]
        if moves[0].numel() == 0:
            return torch.zeros_like(moves[0])
        largest = [float(move.abs().max()) or 1.0 for move in moves]
        total = torch.zeros_like(moves[0], dtype=torch.float64)
        held = torch.zeros_like(total)
        for index, move in enumerate(moves):
            scores = self._scores(index, moves, largest)
            scores[move == 0] = 0
            scores[scores < magnitude_threshold(scores, share_of(scores.numel(), self.density))] = 0
            held.add_(scores)
            total.addcmul_(scores, move.double())
        return total.div_(held.clamp_(min=torch.finfo(held.dtype).tiny)).to(moves[0].dtype)

    def _scores(
        self, index: int, moves: Sequence[Float[Tensor, "*shape"]], largest: Sequence[float]
    ) -> Float[Tensor, "*shape"]:
        """``beta`` of one task, up to the number of entries."""
        own = moves[index].double() / largest[index]
        across = torch.zeros_like(own)
        for other, size in zip(moves, largest, strict=True):
            across.add_(_softmax(own * (other.double() / size), 1.0))
        return across.mul_(_softmax(own.square(), float(len(moves))))


def _softmax(products: Float[Tensor, "*shape"], factor: float) -> Float[Tensor, "*shape"]:
    """Softmax over all entries of the products over their largest magnitude, times a factor; its mean is one."""
    largest = float(products.abs().max())
    raised = (products * (factor / largest) if largest else products).exp_()
    return raised.div_(raised.mean())
