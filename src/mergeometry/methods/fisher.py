"""Fisher merging: the mean of the models in which every entry counts as much as a model's predictions depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.base import Informed, check_shares, parameters


@parameters
class Fisher(Informed):
    """Mean of the models, each entry weighed by each model's diagonal Fisher information of it.

    Law: ``W = sum_t w_t f_t * W_t / sum_t w_t f_t``, entry by entry, with ``f_t = max(F_t / ||F_t||, floor)`` and
    ``F_t = E_x E_{y ~ p_t(y | x)} (d log p_t(y | x) / d W_t)^2``. It is the most probable model where each posterior is
    a Gaussian with its Fisher information as precision. The base is common, so task vectors can replace the weights.
    ``||F_t||`` is the L2 norm over the whole model; with ``normalize: false`` it is 1. Choice: the floor applies after
    normalisation, so that it does not depend on the size of the model's gradients.
    """

    source: ClassVar[str] = "Matena and Raffel 2022, Merging models with Fisher-weighted averaging, arXiv 2111.09832"

    normalize: Annotated[bool, Field(description="divide each model's information by its L2 norm")] = True
    floor: Annotated[float, Field(ge=1e-30, le=1e30, description="the least information that an entry has")] = 1e-6

    @property
    def equal_models(self) -> Literal["same"]:
        """The mean of equal models is that model."""
        return "same"

    @property
    def normalizes(self) -> bool:
        """As the parameter says."""
        return self.normalize

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that are no shares."""
        check_shares(weights)
        super().check(tasks, shape, weights)

    def importance(self, information: Float[Tensor, "*shape"], share: float, norm: float) -> Float[Tensor, "*shape"]:
        """The model's share times its information, normalised, and at least the floor."""
        if self.normalize and norm > 0:
            information.div_(norm)
        return information.clamp_(min=self.floor).mul_(share)
