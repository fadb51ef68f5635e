"""Writes vectors as combinations of a few given ones: the nearest, or those found by orthogonal matching pursuit."""

from __future__ import annotations

from mergeometry.deferred import Float, Int, Tensor, torch


def nearest_points(
    targets: Float[Tensor, "targets dim"], points: Float[Tensor, "points dim"], count: int
) -> tuple[Int[Tensor, "targets count"], Float[Tensor, "targets count"]]:
    """The ``count`` points of the highest cosine with each target, and shares in proportion to the cosines.

    Where no cosine is positive, each point has an equal share. Shares add up to 1.
    """
    cosines, places = (_unit(targets) @ _unit(points).mT).topk(min(count, len(points)), dim=1)
    shares = cosines.clamp(min=0)
    totals = shares.sum(1, keepdim=True)
    return places, torch.where(totals > 0, shares / totals, 1 / places.shape[1])


def matching_pursuit(
    targets: Float[Tensor, "targets dim"], points: Float[Tensor, "points dim"], count: int
) -> tuple[Int[Tensor, "targets count"], Float[Tensor, "targets count"]]:
    """The ``count`` points that orthogonal matching pursuit finds for each target, and their coefficients.

    In each step the point of the highest cosine with what is left joins; all coefficients are then those of least
    squares (Pati, Rezaiifar, Krishnaprasad 1993).
    """
    unit, left = _unit(points), targets
    places = torch.zeros(len(targets), 0, dtype=torch.int64, device=targets.device)
    coefficients = targets.new_zeros(len(targets), 0)
    for _ in range(min(count, len(points))):
        scores = (left @ unit.mT).abs().scatter(1, places, -1.0)
        places = torch.cat([places, scores.argmax(1, keepdim=True)], 1)
        chosen = points[places]
        coefficients = torch.linalg.lstsq(chosen.mT, targets[..., None], driver="gelsd").solution[..., 0]
        left = targets - (coefficients[:, None] @ chosen)[:, 0]
    return places, coefficients


def _unit(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows of length 1; zeros stay."""
    return torch.nn.functional.normalize(rows, dim=1)
