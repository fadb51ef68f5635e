"""What a method's file imports: the families and a few helpers.

A method's family says what it needs, and the caller keeps just that:

| family         | receives for one tensor                       | returns        | example           |
| -------------- | --------------------------------------------- | -------------- | ----------------- |
| `Linear`       | nothing: it gives a coefficient for each task | -              | `task_arithmetic` |
| `Elementwise`  | dense task vectors of any shape               | a dense tensor | `ties`            |
| `Rowwise`      | the same, a few rows of a matrix at a time    | a dense tensor | `rows`            |
| `Drawing`      | the same, and a random drop of their entries  | a dense tensor | `dare`            |
| `RankedDrawing`| the same, and a drop by ranks of magnitudes   | a dense tensor | `della`           |
| `Weightwise`   | the same, and the base's weights              | a dense tensor | `slerp`           |
| `Joint`        | task vectors of any shape, dense or `LowRank` | either         | `model_stock`     |
| `Spherical`    | the same, or the weights themselves           | either         | `nuslerp`         |
| `Spectral`     | matrices, dense or `LowRank`                  | either         | `iso_c`           |
| `Directional`  | the top-k singular triplets of each task      | a `LowRank`    | `tsv_m`           |
| `Activational` | matrices, and moments of the tasks' inputs    | either         | `regmean`         |
| `Informed`     | task vectors, and each model's information    | a dense tensor | `fisher`          |

The file's name is the method's name in recipes. Its dataclass fields are its parameters: typed,
described, validated when the method is built, and refused when unknown.
"""

from __future__ import annotations

from mergeometry.methods.families.accumulator import Accumulator, Held, LeadingDirections, accumulate
from mergeometry.methods.families.activational import Activational
from mergeometry.methods.families.cost import (
    CHUNK_ELEMENTS,
    HELD_BYTES,
    PIECE_ELEMENTS,
    Sizes,
    Work,
    regression_on_rows,
)
from mergeometry.methods.families.directional import Directional, Rank, check_rank, rank_of
from mergeometry.methods.families.drawing import Density, Drawing, RankedDrawing, Rescale
from mergeometry.methods.families.elementwise import Elementwise
from mergeometry.methods.families.informed import Information, Informed
from mergeometry.methods.families.joint import Joint
from mergeometry.methods.families.linear import Linear, WeightedSum
from mergeometry.methods.families.matrixwise import Matrixwise
from mergeometry.methods.families.method import Method, Pieces, parameters
from mergeometry.methods.families.piecewise import Piecewise, Scratch, Sum, merged_in_pieces
from mergeometry.methods.families.rowwise import Rowwise
from mergeometry.methods.families.spectral import Spectral
from mergeometry.methods.families.spherical import Origin, Spherical
from mergeometry.methods.families.weights import check_shares, check_votes, dense_deltas, shares, weighed
from mergeometry.methods.families.weightwise import Weightwise

__all__ = [
    "CHUNK_ELEMENTS",
    "HELD_BYTES",
    "PIECE_ELEMENTS",
    "Accumulator",
    "Activational",
    "Density",
    "Directional",
    "Drawing",
    "Elementwise",
    "Held",
    "Information",
    "Informed",
    "Joint",
    "LeadingDirections",
    "Linear",
    "Matrixwise",
    "Method",
    "Origin",
    "Pieces",
    "Piecewise",
    "Rank",
    "RankedDrawing",
    "Rescale",
    "Rowwise",
    "Scratch",
    "Sizes",
    "Spectral",
    "Spherical",
    "Sum",
    "WeightedSum",
    "Weightwise",
    "Work",
    "accumulate",
    "check_rank",
    "check_shares",
    "check_votes",
    "dense_deltas",
    "merged_in_pieces",
    "parameters",
    "rank_of",
    "regression_on_rows",
    "shares",
    "weighed",
]  # fmt: skip
