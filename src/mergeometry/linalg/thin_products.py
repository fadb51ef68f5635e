"""Singular triplets of several products of thin factors, such as adapters of one shape and rank, found together."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.svd import CANCELLATION, RANK_TOLERANCE, thin_svds
from mergeometry.values import Directions


def triplets_of_products(
    left: Float[Tensor, "t m r"], cores: Float[Tensor, "t r s"], right: Float[Tensor, "t n s"]
) -> list[Directions]:
    """All triplets of each product ``left core right.T`` whose values are not zero; signs are as they come.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    (one, one_triangle), (other, other_triangle) = torch.linalg.qr(left), torch.linalg.qr(right)
    inner = one_triangle @ cores @ other_triangle.mT
    if 0 in inner.shape:
        none = Directions(left[0, :, :0], inner.new_zeros(0), right[0, :, :0], of_adapter=True)
        return [none] * len(left)
    inside, values, across = thin_svds(inner)
    norms = (part.flatten(1).norm(dim=1) for part in (one_triangle, cores, other_triangle))
    rounding = CANCELLATION * torch.stack(list(norms)).prod(dim=0)
    counts = (values > torch.maximum(RANK_TOLERANCE * values[:, 0], rounding)[:, None]).sum(dim=1).tolist()
    lefts, rights = one @ inside, other @ across
    return [
        Directions(lefts[place, :, :count], values[place, :count], rights[place, :, :count], of_adapter=True)
        for place, count in enumerate(counts)
    ]
