"""Tells adapters that were folded into the weights from full fine-tunes, by the spectra of their updates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch

LEADING = 4
"""A fold has its whole update in the leading quarter of the directions, where a fine-tune has some of it in all."""

SMALLEST = 16
"""Rows and columns from which a matrix can tell: the quarter of a smaller one holds no usual adapter."""

VOTES = 3
"""Matrices that decide about a model, by their majority."""

_ARITHMETIC = 2.0**-12
"""Share of the energy in the tail that is taken for none: ten times less than the least of a real fine-tune."""

_RESOLVED = 2.0**-20
"""Share of the energy that a direction needs to be told from the errors of the decomposition."""

_TOLD = 2.0**-5
"""Share of the energy that rounding may have: beyond it, a fine-tune's own tail drowns in that of the rounding."""

_SPREAD = 6.0
"""Over the root of the number of entries: five standard deviations of the energy of rounding, relative to it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the update of a matrix is of low rank, and how many of its directions rise above the rounding."""

    low: bool
    rank: int


def judge(base: Float[Tensor, "m n"], model: Float[Tensor, "m n"]) -> Verdict | None:
    """Whether a block of a model is the base's block with an update of low rank; None where it cannot be told.

    What a fold has beyond its rank is the rounding of its sum, whose energy follows from the weights: a twelfth of the
    square of each entry's unit in the last place. It cannot be told of blocks that are small or not moved, or where
    the rounding is a large part of the update.
    """
    update = model - base
    energy = float(update.square().sum(dtype=torch.float64))
    short, long = sorted(update.shape)
    if short < SMALLEST or not 0 < energy < float("inf"):
        return None
    leading = short // LEADING
    energies = _energies(update / energy**0.5)
    tail = float(energies[leading:].sum(dtype=torch.float64))
    rounding = torch.maximum(_units(base), _units(model)).square() / (12 * energy)
    # Of noise without a direction, as much lies outside the leading directions as those leave of rows and columns.
    beyond = float(rounding.sum()) * (1 - leading / short) * (1 - leading / long)
    if tail > _ARITHMETIC and beyond > _TOLD:
        return None
    # The strongest direction of independent errors is about as long as their longest row and longest column together.
    edge = sum(float(rounding.sum(dim).max()) ** 0.5 for dim in (0, 1)) ** 2
    rank = int((energies > max(edge, _RESOLVED)).sum())
    return Verdict(tail <= (1 + _SPREAD / update.numel() ** 0.5) * beyond + _ARITHMETIC, rank)


class Ballot:
    """Which of some models are folded adapters, by their first matrices that can tell."""

    def __init__(self, models: Iterable[int]) -> None:
        self._votes: dict[int, list[Verdict]] = {model: [] for model in models}

    def asks(self, model: int) -> bool:
        """Whether one more matrix of a model may change what is found."""
        return not any(map(_is_full, self._votes.values())) and not _is_settled(self._votes[model])

    def cast(self, model: int, verdict: Verdict | None) -> None:
        """Take what a matrix of a model says."""
        if verdict is not None and not _is_settled(self._votes[model]):
            self._votes[model].append(verdict)

    @property
    def rank(self) -> int | None:
        """The highest rank of the folded adapters; None without models, or where one is not folded."""
        if not self._votes or not all(2 * _low(votes) > len(votes) for votes in self._votes.values()):
            return None
        return max(vote.rank for votes in self._votes.values() for vote in votes if vote.low)


def _low(votes: Sequence[Verdict]) -> int:
    return sum(vote.low for vote in votes)


def _is_settled(votes: Sequence[Verdict]) -> bool:
    return 2 * _low(votes) > VOTES or _is_full(votes)


def _is_full(votes: Sequence[Verdict]) -> bool:
    return 2 * (len(votes) - _low(votes)) > VOTES


def _energies(update: Float[Tensor, "m n"]) -> Float[Tensor, " r"]:
    """The squares of the singular values, the largest first."""
    thin = update if update.shape[0] <= update.shape[1] else update.T
    return torch.linalg.eigvalsh(thin @ thin.T).flip(0)


def _units(weights: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """The unit in the last place of each entry, in the coarsest dtype that holds them all, whatever the file has."""
    held = (dtype for dtype in (torch.bfloat16, torch.float16) if torch.equal(weights.to(dtype).float(), weights))
    kind = torch.finfo(next(held, torch.float32))
    _, exponents = torch.frexp(weights.double().abs().clamp_min(kind.smallest_normal))
    return torch.ldexp(torch.full_like(weights, kind.eps, dtype=torch.float64), exponents - 1)
