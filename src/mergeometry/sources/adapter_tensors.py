"""Sorts an adapter file's tensors: pairs of factors, whole modules, and what is not understood."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import MERGE_HINT, AdapterConfig, ScalingTable
from mergeometry.sources.index import listing
from mergeometry.sources.lora import AdapterDelta
from mergeometry.sources.tensors import TensorInfo

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_EMBEDDING_FACTOR = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<factor>[AB])(?:\.(?P<adapter>[^.]+))?")
_SAVED_MODULE = re.compile(r"(?P<module>.+)\.modules_to_save(?:\.(?P<adapter>[^.]+))?\.(?P<parameter>[^.]+)")
_CARRIED = re.compile(r"(?P<module>.+)\.base_layer\.weight")
_EMBEDDINGS = {"embed_tokens", "lm_head", "wte", "word_embeddings", "shared", "embed_in", "embed_out"}
"""Modules whose whole weight PEFT saves on its own when the vocabulary was resized."""


class AdapterTensors:
    """The tensors of one adapter file, sorted by what their names say they are."""

    def __init__(self, config: AdapterConfig, file: Path) -> None:
        self._config, self._file = config, file
        self._factors: dict[tuple[str, bool], dict[str, TensorInfo]] = {}
        self._adapters: set[str] = set()
        self._unknown: list[str] = []
        self.replaced: dict[str, TensorInfo] = {}
        self.carried: dict[str, TensorInfo] = {}

    def add(self, name: str, info: TensorInfo) -> None:
        """Sort in one tensor by its name."""
        short = name.removeprefix(_PREFIX)
        if short == name:
            self._unknown.append(name)
        elif match := _FACTOR.fullmatch(short):
            self._add_factor(match, info, embedding=False)
        elif match := _EMBEDDING_FACTOR.fullmatch(short):
            self._add_factor(match, info, embedding=True)
        elif match := _SAVED_MODULE.fullmatch(short):
            self._note_adapter(match["adapter"])
            self._add_once(self.replaced, f"{match['module']}.{match['parameter']}", info)
        elif ".lora_" in short:
            self._unknown.append(name)
        elif match := _CARRIED.fullmatch(short):
            self._add_once(self.carried, f"{match['module']}.weight", info)
        elif self._is_saved_whole(short):
            self._add_once(self.replaced, short, info)
        else:
            self._unknown.append(name)

    def check(self) -> None:
        """Raise SourceError if a tensor is not understood, a factor is missing, or the file holds several adapters."""
        modules = Counter(module for module, _ in self._factors)
        carried = [name for name in self.carried if name.removesuffix(".weight") not in modules]
        lone = [f"{module} has {''.join(pair)} only" for (module, _), pair in self._factors.items() if len(pair) < 2]
        twofold = [module for module, count in modules.items() if count > 1]
        whole = [module for module in modules if f"{module}.weight" in self.replaced]
        several = list(self._adapters) if len(self._adapters) > 1 else []
        problems = (
            (self._unknown + carried, "are not understood", "only plain LoRA of linear layers and embeddings is read"),
            (lone, "lack their other factor", "save the adapter again"),
            (twofold, "have factors both as a layer and as an embedding", None),
            (whole, "are both adapted and saved whole (modules_to_save)", None),
            (several, "belong to several adapters in one file", "save each to a folder of its own"),
        )
        for names, what, hint in problems:
            if names:
                raise SourceError(f"parts of the adapter {what}: {listing(sorted(names))}", file=self._file, hint=hint)
        if not self._factors and not self.replaced:
            raise SourceError("the adapter holds no tensors", file=self._file)

    def deltas(self) -> dict[str, AdapterDelta]:
        """Return the updates by weight; SourceError where shapes, ranks or scalings are wrong."""
        table = ScalingTable(self._config)
        deltas = (self._delta(module, embedding, table) for module, embedding in self._factors)
        return {delta.weight: delta for delta in deltas}

    def _delta(self, module: str, embedding: bool, table: ScalingTable) -> AdapterDelta:
        factors = self._factors[module, embedding]
        inner, outer = factors["A"], factors["B"]
        for info in (inner, outer):
            self._check_factor(info)
        rank, promised = inner.shape[0], table.rank(module)
        if outer.shape[1] != rank:
            raise SourceError(
                f"factors A {inner.shape} and B {outer.shape} have different ranks", file=self._file, tensor=outer.name
            )
        if rank != promised:
            raise SourceError(
                f"the factors have rank {rank}, but the settings say {promised}",
                file=self._file,
                tensor=inner.name,
                hint="adapter_config.json and adapter_model.safetensors may be of different adapters",
            )
        transposed = embedding or self._config.fan_in_fan_out
        left, right = (inner, outer) if transposed else (outer, inner)
        return AdapterDelta(module, left, right, table.scaling(module, rank), transposed, embedding)

    def _check_factor(self, info: TensorInfo) -> None:
        if info.elements == 0 or len(info.shape) < 2:
            raise SourceError(
                f"the factor has the shape {info.shape}",
                file=self._file,
                tensor=info.name,
                hint="sharded training saves such pieces; gather the parameters before saving",
            )
        if len(info.shape) != 2:
            raise SourceError(
                f"the factor has {len(info.shape)} dimensions; adapters of convolutions are not read",
                file=self._file,
                tensor=info.name,
                hint=MERGE_HINT,
            )
        if info.code not in MERGEABLE:
            raise SourceError(f"tensors of dtype {info.code} cannot be merged", file=self._file, tensor=info.name)

    def _add_factor(self, match: re.Match[str], info: TensorInfo, *, embedding: bool) -> None:
        module = match["module"]
        if "base_layer" in module.split("."):
            # PEFT wraps nn.MultiheadAttention whole, and its factors then belong to `in_proj_weight`.
            self._unknown.append(info.name)
            return
        self._note_adapter(match["adapter"])
        self._add_once(self._factors.setdefault((module, embedding), {}), match["factor"], info)

    def _add_once(self, into: dict[str, TensorInfo], key: str, info: TensorInfo) -> None:
        if key in into:
            raise SourceError(
                f"the tensor occurs twice, also under the name {into[key].name!r}", file=self._file, tensor=info.name
            )
        into[key] = info

    def _note_adapter(self, adapter: str | None) -> None:
        if adapter is not None:
            self._adapters.add(adapter)

    def _is_saved_whole(self, name: str) -> bool:
        parts = name.split(".")
        if len(parts) > 1 and parts[-2] in _EMBEDDINGS and parts[-1] == "weight":
            return True
        # PEFT's rule: a module is saved whole if its name ends with one of the settings', dots or not.
        modules = (".".join(parts[:length]) for length in range(1, len(parts)))
        return any(module.endswith(self._config.modules_to_save) for module in modules)
