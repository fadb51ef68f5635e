"""Methods that draw random numbers, from a stream of its own for each tensor and task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.streams import dropped, stream_key
from mergeometry.methods.families.elementwise import Elementwise

Density = Annotated[float, Field(gt=0, le=1, description="chance of an entry of a task vector to be kept")]
"""A share of entries that chance keeps."""


class Drawing(Elementwise):
    """A merge of task vectors after a random drop of their entries.

    Which entries go depends on the recipe's seed, the tensor's name and the model's name alone, so that any number
    of workers and any order of the models give the same result. A plan tells a method these by `for_tensor`; called
    without, it draws for seed 0, a tensor of no name, and models named by their places: "0", "1", ...
    """

    family: ClassVar[str] = "drawing"
    order_invariant: ClassVar[bool] = False
    density: Density

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Drawing:
        """The method with the streams of one tensor; ``tasks`` are the models' names."""
        bound = copy.copy(self)
        # No parameter: a recipe cannot set it, and two tensors' methods stay equal but for it.
        object.__setattr__(bound, "_keys", tuple(stream_key(seed, tensor, task) for task in tasks))
        return bound

    def drop(self, deltas: Sequence[Float[Tensor, "*shape"]]) -> list[Float[Tensor, "*shape"]]:
        """What the drop leaves of each task vector, rescaled so that its expectation stays."""
        keys = getattr(self, "_keys", None) or [stream_key(0, "", str(place)) for place in range(len(deltas))]
        return [dropped(delta, key, self.density) for delta, key in zip(deltas, keys, strict=True)]
