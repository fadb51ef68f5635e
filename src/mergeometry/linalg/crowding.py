"""Which output directions several updates use together, and how much of all of them each holds."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.svd import gram, symmetric_eigen, thin_svd
from mergeometry.values import Delta, LowRank


class Crowding:
    """Takes updates one after another: of thin ones it keeps the factors, of dense ones the sum of ``tau tau^T``."""

    def __init__(self) -> None:
        self._thin: list[LowRank] = []
        self._products: Tensor | None = None
        self.tasks = 0
        """How many updates were not zero."""

    def take(self, delta: Delta) -> None:
        """Take an update, without changing it."""
        if isinstance(delta, LowRank):
            if all(bool(part.any()) for part in (delta.left, delta.core, delta.right)):
                self._thin.append(delta)
                self.tasks += 1
        elif bool(delta.any()):
            self._add(delta.double())
            self.tasks += 1

    def result(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"]]:
        """Orthonormal directions, and each one's share of the squares of all left factors, largest first.

        Where an update was dense, updates themselves take the place of factors.

        Raises:
            NumericalError: an entry is not finite, or every driver failed.
        """
        if self._products is None:
            directions, values, _ = thin_svd(torch.cat([delta.left for delta in self._thin], dim=1).double())
            energies = values.square()
        else:
            for delta in self._thin:
                _, triangle = torch.linalg.qr(delta.right.double())
                self._add(delta.left.double() @ delta.core.double() @ triangle.mT)
            energies, directions = symmetric_eigen(self._products, len(self._products))
            energies = energies.clamp(min=0)
        return directions, energies / energies.sum()

    def _add(self, update: Float[Tensor, "m n"]) -> None:
        products = gram(update.mT)
        self._products = products if self._products is None else self._products.add_(products)
