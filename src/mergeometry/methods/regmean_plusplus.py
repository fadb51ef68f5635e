"""RegMean++: RegMean on the inputs that reach a layer once the layers before it are merged."""

from __future__ import annotations

from typing import ClassVar

from mergeometry.methods.base import parameters
from mergeometry.methods.regmean import RegMean


@parameters
class RegMeanPlusPlus(RegMean):
    """Change each model's outputs as little as possible on the inputs that the merged model gives it, layer by layer.

    Law: that of `regmean`, ``tau = (sum_t w_t tau_t G_t)(sum_t w_t G_t)^+``. The inputs ``X_t`` of a layer's matrices
    are what they receive when model ``t``'s own layer follows the merged embeddings and layers before it, where
    `regmean` runs model ``t`` alone. So layers are merged one after another, and the models run once for each.
    """

    source: ClassVar[str] = "Nguyen et al. 2025, RegMean++, arXiv 2508.03121"
    follows_merge: ClassVar[bool] = True
