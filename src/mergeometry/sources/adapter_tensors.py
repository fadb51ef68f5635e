"""Sorts an adapter file's tensors: factors, whole tensors, copies of the base's, and what is not understood."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import AdapterConfig
from mergeometry.sources.adapter_names import Part, PartKind, part_of
from mergeometry.sources.adapter_updates import Contents, FactorPairs
from mergeometry.sources.index import listing
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import TokenRows


class AdapterTensors:
    """The tensors of one adapter file, sorted by what their names say they are."""

    def __init__(self, config: AdapterConfig, file: Path) -> None:
        self._config, self._file = config, file
        self._parts: dict[PartKind, dict[str, tuple[Part, TensorInfo]]] = {}
        self._adapters: set[str] = set()
        self._unknown: list[str] = []

    def add(self, name: str, info: TensorInfo) -> None:
        """Sort in one tensor by its name; SourceError if the same tensor was added under another name."""
        part = part_of(name, self._config)
        if part is None:
            self._unknown.append(name)
            return
        if part.adapter is not None:
            self._adapters.add(part.adapter)
        parts = self._parts.setdefault(part.kind, {})
        if part.weight in parts:
            known = parts[part.weight][1].name
            raise SourceError(f"the tensor occurs twice, also under the name {known!r}", file=self._file, tensor=name)
        parts[part.weight] = part, info

    def contents(self) -> Contents:
        """Return what the file holds, by the names of the base's tensors.

        Raises:
            SourceError: a tensor is not understood, a factor is missing, the file holds several adapters, or a shape,
                a rank or a scaling is wrong.
        """
        contents = Contents(replaced=self._named("saved"), carried=self._named("carried"))
        self._add_copies(contents)
        self._check(contents)
        pairs = FactorPairs(self._config, self._file)
        pairs.add_layers(contents, self._modules("A"), self._modules("B"), self._modules("magnitude"))
        embeddings = self._modules("embedding A"), self._modules("embedding B")
        pairs.add_embeddings(contents, *embeddings, self._modules("magnitude"))
        pairs.add_biases(contents, self._modules("factor bias"), self._modules("A"))
        for module, info in self._modules("tokens").items():
            contents.updates[f"{module}.weight"] = self._token_rows(module, info)
        twice = [name for name in contents.replaced if name in contents.deltas or name in contents.updates]
        if twice:
            raise SourceError(
                f"parts of the adapter are both adapted and saved whole (modules_to_save, bias): {listing(twice)}",
                file=self._file,
            )
        if not (contents.deltas or contents.updates or contents.replaced or contents.stacked):
            raise SourceError("the adapter holds no tensors", file=self._file)
        return contents

    def _named(self, kind: PartKind) -> dict[str, TensorInfo]:
        return {name: info for name, (_, info) in self._parts.get(kind, {}).items()}

    def _modules(self, kind: PartKind) -> dict[str, TensorInfo]:
        return {part.module: info for part, info in self._parts.get(kind, {}).values()}

    def _add_copies(self, contents: Contents) -> None:
        """Sort in the further names under which PEFT stores a module that is saved whole."""
        for part, info in self._parts.get("saved copy", {}).values():
            named = part.parameter.partition(".")[2]
            if part.weight in contents.replaced or f"{part.module}.{named}" in contents.replaced:
                # PEFT loads the tensor without `modules_to_save` in its name, and passes this one over.
                continue
            adapter, _, parameter = part.parameter.rpartition(".")
            if "." in adapter:
                self._unknown.append(info.name)
                continue
            if adapter:
                self._adapters.add(adapter)
            contents.replaced[f"{part.module}.{parameter}"] = info
        for name, info in self._named("original").items():
            # The base's own, of which a module that is saved whole makes no use.
            if name not in contents.replaced:
                self._unknown.append(info.name)

    def _check(self, contents: Contents) -> None:
        layers = self._modules("A"), self._modules("B")
        embeddings = self._modules("embedding A"), self._modules("embedding B")
        adapted = Counter([*(layers[0] | layers[1]), *(embeddings[0] | embeddings[1])])
        known = adapted.keys() | self._modules("tokens").keys()
        carried = [name for name in contents.carried if name.removesuffix(".weight") not in known]
        stray = (self._modules("magnitude").keys() | self._modules("factor bias").keys()) - adapted.keys()
        lone = [
            f"{module} has {'A' if module in pair[0] else 'B'} only"
            for pair in (layers, embeddings)
            for module in pair[0].keys() ^ pair[1].keys()
        ]
        twofold = [module for module, count in adapted.items() if count > 1]
        several = list(self._adapters) if len(self._adapters) > 1 else []
        problems = (
            (self._unknown + carried, "are not understood", "docs/adapters.md lists the parts that are read"),
            (lone, "lack their other factor", "save the adapter again"),
            (list(stray), "lack their factors", "save the adapter again"),
            (twofold, "have factors both as a layer and as an embedding", None),
            (several, "belong to several adapters in one file", "save each to a folder of its own"),
        )
        for names, what, hint in problems:
            if names:
                raise SourceError(f"parts of the adapter {what}: {listing(sorted(names))}", file=self._file, hint=hint)

    def _token_rows(self, module: str, info: TensorInfo) -> TokenRows:
        tokens = self._config.tokens
        if not isinstance(tokens, tuple):
            names = [name for name in tokens if module == name or module.endswith(f".{name}")]
            tokens = tokens[names[0]] if len(names) == 1 else ()
        if info.code not in MERGEABLE or len(info.shape) != 2 or info.shape[0] != len(tokens) or info.elements == 0:
            raise SourceError(
                f"the rows of {len(tokens)} tokens have the shape {info.shape} and the dtype {info.code}",
                file=self._file,
                tensor=info.name,
                hint="adapter_config.json and adapter_model.safetensors may be of different adapters",
            )
        return TokenRows(info, tokens)
