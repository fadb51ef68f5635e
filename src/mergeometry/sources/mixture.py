"""A mixture of experts put together from dense models: the MLPs of each, under the names of a sparse model.

All else is the base's. Like a stack of layers, a mixture is a checkpoint as any other, and no tensor of it is copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.conventions.mixtures import MATRICES, QKV_BIASES, RESIDUAL, MixtureLayout
from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import SourceError
from mergeometry.sources.checkpoint import Checkpoint
from mergeometry.sources.formed import formed
from mergeometry.sources.gates import Disturbed, Fixed
from mergeometry.sources.stacked import LayerStack, Origin, StackedLayers
from mergeometry.sources.tensors import TensorInfo

_MLP = re.compile(rf"model\.layers\.(\d+)\.mlp\.({'|'.join(MATRICES)})\.weight")
_KNOWN = re.compile(
    r"model\.(embed_tokens|norm)\.weight|lm_head\.weight|model\.layers\.\d+\.("
    r"(input|post_attention)_layernorm\.weight|self_attn\.[qkvo]_proj\.(weight|bias)|self_attn\.[qk]_norm\.weight"
    r"|self_attn\.rotary_emb\.inv_freq)"
)


@dataclass(frozen=True, slots=True)
class Expert:
    """One dense model whose MLPs are an expert, and how they are disturbed and scaled on the way."""

    model: Checkpoint
    noise: float = 0.0
    residual_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class MixtureOf(LayerStack):
    """How a mixture was put together: the base and every expert, each with all of its layers."""

    @property
    def described(self) -> str:
        """The mixture in words."""
        base, *experts = (entry.checkpoint.name for entry in self.entries)
        return f"{len(experts)} experts on {base}: {', '.join(experts)}"

    @property
    def runs_as_one(self) -> bool:
        """Of an expert nothing but its MLPs is taken."""
        return False


def assemble_mixture(
    base: Checkpoint,
    experts: Sequence[Expert],
    layout: MixtureLayout,
    gates: Float[Tensor, "layers gates width"],
    *,
    per_token: int,
    shared: Expert | None = None,
    seed: int = 0,
) -> Checkpoint:
    """Put a mixture together; ``gates`` are a row per expert of each layer, the shared expert's last.

    Raises:
        SourceError: the base has parts that the layout lacks, or an expert's MLPs do not fit the base's.
    """
    assert base.config is not None
    whole = [Expert(base), *experts, *([shared] if shared is not None else [])]
    count = check_parts(base, layout)
    origins = dict(_origins(base, experts, shared, layout, count, seed))
    table = base.tensors["model.embed_tokens.weight"]
    tensors = {name: _renamed(origin.info, name) for name, origin in origins.items()}
    for layer in range(count):
        tensors |= _gates(f"model.layers.{layer}.", layout, gates[layer], len(experts), table)
        if layout.biased:
            tensors |= {name: info for name, info in _biases(base, layer, table).items() if name not in tensors}
    try:
        settings = layout.settings(base.config, len(experts), per_token)
    except ValueError as error:
        raise SourceError(str(error), file=base.path) from error
    entries = tuple(StackedLayers(one.model, 0, count) for one in whole)
    return replace(
        base,
        tensors=dict(sorted(tensors.items())),
        config={**base.config, **settings},
        changed={**base.changed, **settings},
        files=tuple(dict.fromkeys(file for one in whole for file in one.model.files)),
        stack=MixtureOf(entries, origins),
    )


def check_parts(base: Checkpoint, layout: MixtureLayout) -> int:
    """The number of layers, once every tensor of the base has a place in the mixture; SourceError otherwise."""
    tower = LayerNames(base.tensors, base.config).main
    if tower is None or tower.name != "model.layers" or "model.embed_tokens.weight" not in base.tensors:
        raise SourceError(
            "a mixture needs a language model whose layers are called model.layers",
            file=base.path,
            hint="save the base with its AutoModelForCausalLM class",
        )
    for name in base.tensors:
        biased = name.endswith(".bias") and not (layout.biased and name.split(".")[-2] in QKV_BIASES)
        if not (_MLP.fullmatch(name) or _KNOWN.fullmatch(name)) or biased:
            raise SourceError(
                f"the layout {layout.name} has no place for a tensor of the base", file=base.path, tensor=name
            )
    return tower.count


def _origins(
    base: Checkpoint,
    experts: Sequence[Expert],
    shared: Expert | None,
    layout: MixtureLayout,
    count: int,
    seed: int,
) -> Iterator[tuple[str, Origin]]:
    """Every tensor that a model has, by its name in the mixture."""
    for name, info in base.tensors.items():
        if not _MLP.fullmatch(name):
            yield name, Origin(0, info)
    for layer in range(count):
        for matrix in MATRICES:
            old = f"model.layers.{layer}.mlp.{matrix}.weight"
            expected = _required(base, base, old)
            named = [
                (layout.experts[matrix].format(expert=place), expert, place + 1) for place, expert in enumerate(experts)
            ]
            if shared is not None and layout.shared is not None:
                named.append((layout.shared.format(matrix=matrix), shared, len(experts) + 1))
            for new, expert, entry in named:
                info, name = _required(expert.model, base, old), f"model.layers.{layer}.{new}"
                if info.shape != expected.shape:
                    raise SourceError(
                        f"the expert's tensor has shape {list(info.shape)}, the base's {list(expected.shape)}",
                        model=expert.model.label,
                        file=expert.model.path,
                        tensor=old,
                    )
                yield name, Origin(entry, _disturbed(info, expert, name, matrix, seed))


def _required(model: Checkpoint, base: Checkpoint, name: str) -> TensorInfo:
    if name not in model.tensors:
        raise SourceError(
            "the model has no such tensor",
            model=model.label,
            file=model.path,
            tensor=name,
            hint="experts are dense models of the base's architecture" if model is not base else None,
        )
    return model.tensors[name]


def _disturbed(info: TensorInfo, expert: Expert, name: str, matrix: str, seed: int) -> TensorInfo:
    scale = expert.residual_scale if matrix == RESIDUAL else 1.0
    if scale == 1.0 and not expert.noise:
        return info
    return formed(info.name, info.shape, info.code, Disturbed(info, name, scale, expert.noise, seed))


def _renamed(info: TensorInfo, name: str) -> TensorInfo:
    return replace(info, name=name)


def _gates(
    prefix: str, layout: MixtureLayout, gates: Float[Tensor, "gates width"], experts: int, beside: TensorInfo
) -> Mapping[str, TensorInfo]:
    named = {prefix + layout.router: gates[:experts]}
    if layout.shared_gate is not None:
        named[prefix + layout.shared_gate] = gates[experts:]
    return {
        name: formed(name, tuple(values.shape), beside.code, Fixed(beside, values.contiguous()))
        for name, values in named.items()
    }


def _biases(base: Checkpoint, layer: int, beside: TensorInfo) -> Mapping[str, TensorInfo]:
    """Biases of zero for queries, keys and values."""
    biases = {}
    for part in QKV_BIASES:
        name = f"model.layers.{layer}.self_attn.{part}"
        size = _required(base, base, f"{name}.weight").shape[0]
        biases[f"{name}.bias"] = formed(f"{name}.bias", (size,), beside.code, Fixed(beside, torch.zeros(size)))
    return biases
