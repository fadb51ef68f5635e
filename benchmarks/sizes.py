"""The shapes that are measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DENSITY = 0.2
"""Share of entries that TIES keeps, its default."""


@dataclass(frozen=True)
class Size:
    """A vision transformer's shapes, how many models of it are merged, and the rank of its adapters."""

    name: str
    layers: int
    width: int
    inner: int
    patch: int
    patches: int
    tasks: int
    adapter_rank: int

    def matrices(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name of the module and (outputs, inputs) of every linear map."""
        for number in range(self.layers):
            yield from self.layer(number)

    def layer(self, number: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """The linear maps of one layer."""
        block = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield f"{block}.attention.attention.{name}", (self.width, self.width)
        yield f"{block}.attention.output.dense", (self.width, self.width)
        yield f"{block}.intermediate.dense", (self.inner, self.width)
        yield f"{block}.output.dense", (self.width, self.inner)

    def others(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every tensor that is no linear map."""
        yield "embeddings.cls_token", (1, 1, self.width)
        yield "embeddings.position_embeddings", (1, self.patches + 1, self.width)
        yield "embeddings.patch_embeddings.projection.weight", (self.width, 3, self.patch, self.patch)
        yield "embeddings.patch_embeddings.projection.bias", (self.width,)
        for module, (outputs, _) in self.matrices():
            yield f"{module}.bias", (outputs,)
        for number in range(self.layers):
            for norm in ("layernorm_before", "layernorm_after"):
                yield f"encoder.layer.{number}.{norm}.weight", (self.width,)
                yield f"encoder.layer.{number}.{norm}.bias", (self.width,)
        yield "layernorm.weight", (self.width,)
        yield "layernorm.bias", (self.width,)


VIT_B = Size("ViT-B", layers=12, width=768, inner=3072, patch=16, patches=196, tasks=8, adapter_rank=16)
TINY = Size("tiny", layers=1, width=24, inner=48, patch=2, patches=4, tasks=3, adapter_rank=2)
BY_NAME = {size.name: size for size in (VIT_B, TINY)}
