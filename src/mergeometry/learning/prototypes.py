"""Prototypes: the directions that a task's features are to gather around, one for each class of its head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.errors import DataError
from mergeometry.linalg.polar import polar
from mergeometry.linalg.svd import RANK_TOLERANCE, thin_svd

LARGEST_FRAME = 4096
"""Classes up to which a frame past the simplex is sought: its time grows with their square, and is minutes there."""

_SQUARINGS = (2, 3, 4, 5, 6, 7)
"""The norm of exponent 2 to this power stands for the largest of the cosines, from smooth to sharp."""

_ITERATIONS = 40
"""Of the quasi-Newton method, for each norm."""

_SEED = 0
"""Of the directions that a head says nothing about; any would do, and the same ones come every time."""


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """A unit vector for each class, column by column; ``note`` says what a log should, where there is something."""

    vectors: Float[Tensor, "d classes"]
    is_simplex: bool
    """Whether all cosines are exactly ``-1/(C - 1)``; ``False`` means a frame of small coherence."""
    coherence: float
    """Largest magnitude of the cosine of two prototypes."""
    note: str | None


def head_prototypes(weight: Float[Tensor, "classes d"]) -> Prototypes:
    """The simplex ETF that lies closest to a head's class weights, each vertex by its own class, in float64.

    Of all ``E`` with unit columns at cosines ``-1/(C - 1)`` the one with the largest ``<E, X>``, X the class weights
    less their mean as columns, is ``sqrt(C/(C - 1)) polar(X)``: its columns are centred as X's are. A head whose
    centred weights have a rank below ``C - 1`` (two classes with one weight, say) leaves directions free; they are
    filled at random, from a fixed seed, at right angles to the others, so that the simplex is one all the same.

    More than ``d + 1`` classes admit no simplex. Then it is the frame of unit vectors reached from the head's
    normalised centred weights by making the coherence small, turned as a whole towards the head's.

    Source: MDA (arXiv 2512.00391) section 4.2; Papyan, Han and Donoho 2020, Definition 3, for the simplex; Welch
    1974 (IEEE Transactions on Information Theory 20) for the bound of the coherence.

    Raises:
        DataError: the head has fewer than two classes, or more than `LARGEST_FRAME` with no simplex for them.
        NumericalError: a weight is not finite, or every LAPACK driver failed.
    """
    classes, size = weight.shape
    if classes < 2:
        raise DataError(
            f"a head of {classes} class has no directions to align features with",
            hint="prototypes need a head of two classes or more; without one, set alpha and beta to 0",
        )
    exact = weight.detach().to("cpu", torch.float64)
    centred = (exact - exact.mean(dim=0)).mT
    made = _simplex(centred) if classes <= size + 1 else _frame(centred)
    return Prototypes(made.vectors.to(weight.device), made.is_simplex, made.coherence, made.note)


def random_prototypes(classes: int, d: int, generator: torch.Generator) -> Prototypes:
    """Prototypes of a head of random weights: a simplex ETF that is uniform among all, and knows of no class.

    Raises:
        DataError: there are fewer than two classes, or more than `LARGEST_FRAME` with no simplex for them.
    """
    return head_prototypes(torch.randn(classes, d, dtype=torch.float64, generator=generator))


def _simplex(centred: Float[Tensor, "d classes"]) -> Prototypes:
    size, classes = centred.shape
    # Coordinates in the plane of sum zero: there nothing is lost, and the polar factor has no null direction to lose.
    plane = torch.from_numpy(scipy.linalg.helmert(classes))
    left, values, right = thin_svd(centred @ plane.mT)
    kept = int((values > RANK_TOLERANCE * values[0]).sum())
    note = None
    if kept < classes - 1:
        known, drawn = left[:, :kept], torch.randn(size, classes - 1 - kept, dtype=torch.float64, generator=_fixed())
        added = torch.linalg.qr(torch.cat([known, drawn], dim=1))[0][:, kept:]
        left = torch.cat([known, added], dim=1)
        note = (
            f"the head's class weights differ in {kept} of the {classes - 1} directions that {classes} classes need: "
            "the prototypes differ in random ones besides"
        )
    vectors = math.sqrt(classes / (classes - 1)) * (left @ right.mT @ plane)
    return Prototypes(vectors, is_simplex=True, coherence=1 / (classes - 1), note=note)


def _frame(centred: Float[Tensor, "d classes"]) -> Prototypes:
    size, classes = centred.shape
    if classes > LARGEST_FRAME:
        raise DataError(
            f"{classes} classes in {size} dimensions have no simplex, and are too many to find another frame for",
            hint=f"prototypes past d + 1 classes go up to {LARGEST_FRAME} classes; set alpha and beta to 0",
        )
    # Equal class weights would never part by themselves, and one at the mean has no direction: a little noise does it.
    start = _unit(centred) + 1e-3 * _unit(torch.randn(size, classes, dtype=torch.float64, generator=_fixed()))
    vectors = _unit(_spread(start))
    vectors = polar(centred @ vectors.mT)[0] @ vectors
    found = float(_cosines(vectors).max())
    bound = math.sqrt((classes - size) / (size * (classes - 1)))
    note = (
        f"{classes} classes in {size} dimensions have no simplex: prototypes are unit vectors of coherence {found:.4f} "
        f"(none can have less than {bound:.4f}, Welch's bound)"
    )
    return Prototypes(vectors, is_simplex=False, coherence=found, note=note)


def _spread(start: Float[Tensor, "d classes"]) -> Float[Tensor, "d classes"]:
    """Make the largest cosine small from here: the norm of them all whose exponent grows, in float32 for time."""
    vectors = start.to(torch.float32, memory_format=torch.contiguous_format)
    for squarings in _SQUARINGS:
        optimiser = torch.optim.LBFGS([vectors], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

        def smooth_largest(squarings: int = squarings) -> Tensor:
            value, vectors.grad = _norm_of_cosines(vectors, squarings)
            return value

        optimiser.step(smooth_largest)
    return vectors.double()


def _norm_of_cosines(
    vectors: Float[Tensor, "d classes"], squarings: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "d classes"]]:
    """``(sum |cos|^n)^(1/n)`` over all pairs with ``n = 2^squarings``, and its gradient.

    By hand, since the powers come by squaring (``n - 1 = 1 + 2 + 4 + ..``), ten times as fast as `pow`.
    """
    lengths = vectors.norm(dim=0)
    unit = vectors / lengths
    power = unit.mT @ unit
    power.fill_diagonal_(0)
    largest = power.abs().max()
    power /= largest
    slope = power.clone()
    for number in range(squarings):
        power.square_()
        if number < squarings - 1:
            slope *= power
    total = power.sum()
    value = largest * total ** (0.5**squarings)
    gradient = 2 * unit @ slope * (value / largest / total)
    gradient -= unit * (unit * gradient).sum(dim=0)
    return value, gradient / lengths


def _cosines(vectors: Float[Tensor, "d classes"]) -> Float[Tensor, "classes classes"]:
    """Magnitudes of the cosines of pairs; zero between a vector and itself."""
    gram = vectors.mT @ vectors
    return (gram - torch.diag(gram.diagonal())).abs()


def _unit(vectors: Float[Tensor, "d classes"]) -> Float[Tensor, "d classes"]:
    return torch.nn.functional.normalize(vectors, dim=0)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)
