"""Prototypes: the directions around which a task's features should gather, one per class of its head."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.errors import DataError
from mergeometry.linalg.polar import polar
from mergeometry.linalg.svd import RANK_TOLERANCE, thin_svd

LARGEST_FRAME = 4096
"""The most classes for which a frame other than the simplex is sought: time grows with their square, to minutes."""

_SQUARINGS = (2, 3, 4, 5, 6, 7)
"""Powers of 2 whose norms approximate the largest cosine, from smooth to sharp."""

_ITERATIONS = 40
"""Iterations of the quasi-Newton method per norm."""

_SEED = 0
"""Seed of the directions that a head leaves free; any directions work, and these repeat every time."""


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """One unit vector per class, as columns; ``note`` is for the log, where there is something to report."""

    vectors: Float[Tensor, "d classes"]
    is_simplex: bool
    """Whether all cosines are exactly ``-1/(C - 1)``; otherwise it is a frame of small coherence."""
    coherence: float
    """Largest magnitude of the cosine between two prototypes."""
    note: str | None


def head_prototypes(weight: Float[Tensor, "classes d"]) -> Prototypes:
    """The simplex ETF closest to a head's class weights, with one vertex per class, in float64.

    The columns of X are the class weights minus their mean. Of all ``E`` with unit columns at cosines ``-1/(C - 1)``,
    the one with the largest ``<E, X>`` is ``sqrt(C/(C - 1)) polar(X)``, whose columns are centred as those of X are. A
    head whose centred weights have a rank below ``C - 1`` (for example, two classes with equal weights) leaves
    directions free. Random directions from a fixed seed, orthogonal to the others, complete the simplex.

    More than ``d + 1`` classes admit no simplex. The result is then a frame of unit vectors: starting from the head's
    normalised centred weights, the coherence is made small, and the frame as a whole is rotated towards the weights.

    Source: MDA (arXiv 2512.00391) section 4.2; Papyan, Han and Donoho 2020, Definition 3, for the simplex; Welch
    1974 (IEEE Transactions on Information Theory 20) for the bound on the coherence.

    Raises:
        DataError: the head has fewer than two classes, or more than `LARGEST_FRAME` classes and no simplex.
        NumericalError: a weight is not finite, or every LAPACK driver fails.
    """
    classes, size = weight.shape
    if classes < 2:
        raise DataError(
            f"a head of {classes} class has no directions to align features with",
            hint="prototypes need a head of two classes or more; without one, set alpha and beta to 0",
        )
    exact = weight.detach().to("cpu", torch.float64)
    centred = (exact - exact.mean(dim=0)).mT
    prototypes = _simplex(centred) if classes <= size + 1 else _frame(centred)
    return replace(prototypes, vectors=prototypes.vectors.to(weight.device))


def random_prototypes(classes: int, d: int, generator: torch.Generator) -> Prototypes:
    """Prototypes of a head with random weights: a simplex ETF that is uniform among all and independent of the classes.

    Raises:
        DataError: there are fewer than two classes, or more than `LARGEST_FRAME` classes and no simplex.
    """
    return head_prototypes(torch.randn(classes, d, dtype=torch.float64, generator=generator))


def _simplex(centred: Float[Tensor, "d classes"]) -> Prototypes:
    size, classes = centred.shape
    # In coordinates of the zero-sum subspace nothing is lost, and the polar factor has no null direction.
    plane = torch.from_numpy(scipy.linalg.helmert(classes))
    left, values, right = thin_svd(centred @ plane.mT)
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    note = None
    if rank < classes - 1:
        known, drawn = left[:, :rank], torch.randn(size, classes - 1 - rank, dtype=torch.float64, generator=_fixed())
        added = torch.linalg.qr(torch.cat([known, drawn], dim=1))[0][:, rank:]
        left = torch.cat([known, added], dim=1)
        note = (
            f"the head's class weights differ in {rank} of the {classes - 1} directions that {classes} classes need: "
            "the prototypes fill the others with random ones"
        )
    vectors = math.sqrt(classes / (classes - 1)) * (left @ right.mT @ plane)
    return Prototypes(vectors, is_simplex=True, coherence=1 / (classes - 1), note=note)


def _frame(centred: Float[Tensor, "d classes"]) -> Prototypes:
    size, classes = centred.shape
    if classes > LARGEST_FRAME:
        raise DataError(
            f"{classes} classes in {size} dimensions have no simplex, and are too many for a search of another frame",
            hint=f"beyond d + 1 classes, prototypes work up to {LARGEST_FRAME} classes; set alpha and beta to 0",
        )
    # Equal class weights would never separate, and one at the mean has no direction, so a little noise is added.
    start = _unit(centred) + 1e-3 * _unit(torch.randn(size, classes, dtype=torch.float64, generator=_fixed()))
    vectors = _unit(_spread(start))
    vectors = polar(centred @ vectors.mT)[0] @ vectors
    coherence = float(_cosines(vectors).max())
    bound = math.sqrt((classes - size) / (size * (classes - 1)))
    note = (
        f"{classes} classes in {size} dimensions have no simplex: prototypes are unit vectors of coherence "
        f"{coherence:.4f} (Welch's bound: no frame has less than {bound:.4f})"
    )
    return Prototypes(vectors, is_simplex=False, coherence=coherence, note=note)


def _spread(start: Float[Tensor, "d classes"]) -> Float[Tensor, "d classes"]:
    """Minimise the largest cosine through norms of all cosines with growing exponents, in float32 to save time."""
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

    Written by hand, since repeated squaring (``n - 1 = 1 + 2 + 4 + ..``) is ten times as fast as `pow`.
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
    """Magnitudes of the cosines between pairs; zero between a vector and itself."""
    gram = vectors.mT @ vectors
    return (gram - torch.diag(gram.diagonal())).abs()


def _unit(vectors: Float[Tensor, "d classes"]) -> Float[Tensor, "d classes"]:
    return torch.nn.functional.normalize(vectors, dim=0)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)
