"""Neural collapse: how far features of a classifier are from the vertices of a simplex, one for each class."""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.deferred import Float, Int, Tensor, torch

_LEAST_INPUTS = 2
"""Inputs of a class from which on it counts: one input has no variability."""
_RANK_TOLERANCE = 1e-6
"""Singular values of the class means below this share of the largest are rounding of features in float32."""


@dataclass(frozen=True, slots=True)
class Collapse:
    """NC1 to NC4, each 0 where features have collapsed; None where one is not defined.

    Only classes of two inputs or more count, each as much as any other, as in the paper's balanced data.
    """

    classes: int
    """Classes that count."""
    inputs: int
    """Inputs of those classes."""
    nc1: float | None
    nc2_lengths: float | None
    nc2_angles: float | None
    """Both are None of two classes, whose centred means are always a simplex."""
    nc3: float | None
    """None without a head."""
    nc4: float | None
    """None without a head's predictions."""


def collapse(
    features: Float[Tensor, "n d"],
    classes: Int[Tensor, " n"],
    head: Float[Tensor, "c d"] | None = None,
    predicted: Int[Tensor, " n"] | None = None,
) -> Collapse | None:
    """Measure the collapse of features of given classes; ``predicted`` is what the ``head`` says of each of them.

    None where fewer than two classes have inputs enough, or all class means are equal.

    Source: Papyan, Han and Donoho 2020 (arXiv 2008.08186), figures 2 to 7.
    """
    counts = torch.bincount(classes)
    counted = torch.nonzero(counts >= _LEAST_INPUTS).flatten()
    if len(counted) < 2:
        return None
    member = torch.isin(classes, counted)
    exact, place = features[member].double(), torch.searchsorted(counted, classes[member])
    means = torch.stack([exact[place == number].mean(dim=0) for number in range(len(counted))])  # [k d]
    centred = means - means.mean(dim=0)
    if not bool(centred.norm() > 0):
        return None
    return Collapse(
        classes=len(counted),
        inputs=len(exact),
        nc1=_variability(exact - means[place], centred, counts[counted].double()[place]),
        nc2_lengths=_spread_of_lengths(centred) if len(centred) > 2 else None,
        nc2_angles=_distance_from_equal_angles(centred) if len(centred) > 2 else None,
        nc3=None if head is None else _distance_from_head(centred, head[counted].double()),
        nc4=None if predicted is None else _apart_from_nearest(exact, means, counted, predicted[member]),
    )


def _variability(
    within: Float[Tensor, "n d"], centred: Float[Tensor, "k d"], sizes: Float[Tensor, " n"]
) -> float | None:
    """``tr(Sigma_W Sigma_B^+) / k``; ``sizes`` holds the number of inputs of each input's class.

    With ``Sigma_B = V diag(s^2 / k) V^T`` from the class means' SVD, the trace needs ``Sigma_W`` along ``V`` alone.
    """
    count = len(centred)
    _, values, right = torch.linalg.svd(centred, full_matrices=False)
    kept = values > _RANK_TOLERANCE * values[0]
    along = (within @ right[kept].mT).square() / sizes.unsqueeze(1)
    trace = (along.sum(dim=0) / count / (values[kept].square() / count)).sum()
    return float(trace) / count


def _spread_of_lengths(centred: Float[Tensor, "k d"]) -> float:
    """Standard deviation of ``||mu_c - mu_G||`` over its mean: 0 where all means are equally far from the centre."""
    lengths = centred.norm(dim=1)
    return float(lengths.std(correction=0) / lengths.mean())


def _distance_from_equal_angles(centred: Float[Tensor, "k d"]) -> float:
    """Mean of ``abs(cos(mu_c - mu_G, mu_c' - mu_G) + 1/(k-1))`` over pairs: 0 for the angles of a simplex."""
    count = len(centred)
    unit = torch.nn.functional.normalize(centred, dim=1)
    pairs = torch.triu_indices(count, count, offset=1)
    cosines = (unit @ unit.mT)[pairs[0], pairs[1]]
    return float((cosines + 1 / (count - 1)).abs().mean())


def _distance_from_head(centred: Float[Tensor, "k d"], weight: Float[Tensor, "k d"]) -> float | None:
    """``|| W / ||W|| - M / ||M|| ||^2``: 0 where the head's rows are the class means, 2 where they are orthogonal."""
    length = weight.norm()
    return float((weight / length - centred / centred.norm()).square().sum()) if bool(length > 0) else None


def _apart_from_nearest(
    features: Float[Tensor, "n d"],
    means: Float[Tensor, "k d"],
    counted: Int[Tensor, " k"],
    predicted: Int[Tensor, " n"],
) -> float:
    """Share of the inputs that the head puts into another class than that of the nearest class mean."""
    nearest = torch.cdist(features, means, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
    return float((counted[nearest] != predicted).double().mean())
