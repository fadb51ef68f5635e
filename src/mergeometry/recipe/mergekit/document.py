"""One mergekit recipe as it is written: its keys checked, its models, slices and settings in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergeometry.recipe.mergekit.lines import Key, Lines

KEYS = (
    "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",
    "tokenizer", "chat_template",
)  # fmt: skip
_NOT_STRIPPED = "@+"


@dataclass(frozen=True, slots=True)
class Reference:
    """A model: a path or a name on the hub, its revision, and an adapter on top."""

    path: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None

    @property
    def model(self) -> str:
        """The model without its adapter, as our recipes write it."""
        return f"{self.path}@{self.revision}" if self.revision else self.path

    @property
    def text(self) -> str:
        """The whole, as our recipes write it."""
        return self.model if self.adapter is None else f"{self.model}+{self.adapter_text}"

    @property
    def adapter_text(self) -> str:
        """The adapter alone."""
        return f"{self.adapter}@{self.adapter_revision}" if self.adapter_revision else str(self.adapter)


@dataclass(frozen=True, slots=True)
class Scope:
    """Settings of parameters, and where they stand."""

    settings: Mapping[str, Any]
    key: Key


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a slice: a model, some of its layers, and settings of its own."""

    model: Reference
    layers: tuple[int, int] | None
    scope: Scope
    key: Key


@dataclass(frozen=True, slots=True)
class Slice:
    """Layers of the output and what they are merged from; a recipe with `models` has one, without a range."""

    sources: tuple[Source, ...]
    base: Reference | None
    scopes: tuple[Scope, ...]
    """Its own settings, and those around it, the nearest first."""
    key: Key


@dataclass(frozen=True, slots=True)
class Document:
    """A mergekit recipe."""

    method: str
    slices: tuple[Slice, ...]
    base: Reference | None
    given: Mapping[str, Any]
    """The recipe itself, for the keys that stand alone."""
    lines: Lines
    notes: tuple[str, ...]
    """What has no effect, in words."""

    @property
    def layered(self) -> bool:
        """Whether it names ranges of layers."""
        return self.slices[0].sources[0].layers is not None


def read_document(given: Mapping[str, Any], lines: Lines) -> Document:
    """Check a mergekit recipe's keys and bring its models and slices into one form.

    Raises:
        RecipeError: a key is unknown or missing, or a value is not of its kind; it names the line.
    """
    lines.section(given, (), KEYS, needed=["merge_method"])
    method = given["merge_method"]
    if not isinstance(method, str):
        raise lines.error(("merge_method",), f"the name of a method is needed, got {method!r}")
    notes: list[str] = []
    base = None
    if given.get("base_model") is not None:
        base = read_reference(given["base_model"], ("base_model",), lines, notes)
    outermost = _scopes(given, (), lines)
    key, holder, scopes = (), given, outermost
    present = [name for name in ("models", "slices", "modules") if given.get(name)]
    if len(present) != 1:
        what = "needs one of `models`, `slices` and `modules`"
        raise lines.error((*present[1:2],), what if not present else f"{what}, and has {' and '.join(present)}")
    if present == ["modules"]:
        key, holder, scopes = _module(given["modules"], lines, outermost)
    if holder.get("models"):
        sources = tuple(
            _source(item, place, lines, notes, layered=False)
            for item, place in lines.items(holder["models"], (*key, "models"))
        )
        slices = (_with_base(Slice(sources, base, scopes, (*key, "models")), base),)
    else:
        slices = tuple(
            _slice(item, place, lines, notes, base, scopes)
            for item, place in lines.items(holder["slices"], (*key, "slices"))
        )
    return Document(method, slices, base, given, lines, tuple(dict.fromkeys(notes)))


def _module(given: Any, lines: Lines, outer: tuple[Scope, ...]) -> tuple[Key, Mapping[str, Any], tuple[Scope, ...]]:
    """The one module of a recipe that names its modules."""
    names = list(given) if isinstance(given, Mapping) else []
    if names != ["default"]:
        hint = "give the recipe with `models` or `slices` at its top level: they hold for all of a model"
        other = next((name for name in names if name != "default"), None)
        key: Key = ("modules",) if other is None else ("modules", str(other))
        what = "only the module `default` is read: a merge here is one of whole models"
        raise lines.error(key, what, hint)
    key = ("modules", "default")
    module = lines.section(given["default"], key, ("slices", "models", "parameters"))
    if bool(module.get("slices")) == bool(module.get("models")):
        raise lines.error(key, "needs either `slices` or `models`")
    return key, module, (*_scopes(module, key, lines), *outer)


def _with_base(slice_: Slice, base: Reference | None) -> Slice:
    """The slice with the base model among its inputs, where mergekit adds it."""
    if base is None or any(source.model == base for source in slice_.sources):
        return slice_
    added = Source(base, None, Scope({}, ("base_model",)), ("base_model",))
    return Slice((*slice_.sources, added), base, slice_.scopes, slice_.key)


def _slice(
    given: Any, key: Key, lines: Lines, notes: list[str], base: Reference | None, outer: tuple[Scope, ...]
) -> Slice:
    known = ("sources", "base_model", "parameters", "residual_weight")
    section = lines.section(given, key, known, needed=["sources"])
    if section.get("residual_weight") is not None:
        notes.append(f"{lines.place((*key, 'residual_weight'))}: mergekit does not read it either")
    if section.get("base_model") is not None:
        base = read_reference(section["base_model"], (*key, "base_model"), lines, notes)
    sources = tuple(
        _source(item, place, lines, notes, layered=True)
        for item, place in lines.items(section["sources"], (*key, "sources"))
    )
    counts = {last - first for first, last in (source.layers for source in sources if source.layers)}
    if len(counts) > 1:
        raise lines.error((*key, "sources"), f"the sources have {' and '.join(map(str, sorted(counts)))} layers each")
    return Slice(sources, base, (*_scopes(section, key, lines), *outer), key)


def _source(given: Any, key: Key, lines: Lines, notes: list[str], *, layered: bool) -> Source:
    known = ("model", "layer_range", "parameters") if layered else ("model", "parameters")
    section = lines.section(given, key, known, needed=known[: 1 + layered])
    layers = _range(section["layer_range"], (*key, "layer_range"), lines) if layered else None
    scopes = _scopes(section, key, lines)
    own = scopes[0] if scopes else Scope({}, (*key, "parameters"))
    return Source(read_reference(section["model"], (*key, "model"), lines, notes), layers, own, key)


def _range(given: Any, key: Key, lines: Lines) -> tuple[int, int]:
    if not (isinstance(given, list) and len(given) == 2 and all(type(end) is int for end in given)):
        raise lines.error(key, f"a range of layers such as [0, 16] is needed, got {given!r}")
    if not 0 <= given[0] < given[1]:
        raise lines.error(key, f"{given} are no layers: the first is included, the last is not")
    return given[0], given[1]


def _scopes(given: Mapping[str, Any], key: Key, lines: Lines) -> tuple[Scope, ...]:
    settings = given.get("parameters")
    if settings is None:
        return ()
    if not isinstance(settings, Mapping):
        raise lines.error((*key, "parameters"), f"a mapping of parameters is needed, got {settings!r}")
    return (Scope(settings, (*key, "parameters")),)


def read_reference(given: Any, key: Key, lines: Lines, notes: list[str]) -> Reference:
    """A model's reference, written as text or as a mapping; ``notes`` gets what has no effect.

    Raises:
        RecipeError: it is neither.
    """
    if isinstance(given, str):
        model, *adapters = given.split("+")
        if len(adapters) > 1:
            raise lines.error(key, f"{given!r} names more than one adapter")
        adapter = _path(adapters[0], key, lines) if adapters else (None, None)
        return Reference(*_path(model, key, lines), *adapter)
    section = lines.section(given, key, ("model", "lora", "override_architecture"), needed=["model"])
    if section.get("override_architecture") is not None:
        notes.append(f"{lines.place((*key, 'override_architecture'))}: without effect, since tensors go by their names")
    adapter = (None, None) if section.get("lora") is None else _path(section["lora"], (*key, "lora"), lines)
    return Reference(*_path(section["model"], (*key, "model"), lines), *adapter)


def _path(given: Any, key: Key, lines: Lines) -> tuple[str, str | None]:
    """A path and a revision."""
    if isinstance(given, str) and given.strip(_NOT_STRIPPED):
        path, at, revision = given.rpartition("@")
        if at and "@" in path:
            raise lines.error(key, f"{given!r} names more than one revision")
        return (path, revision) if at else (given, None)
    section = lines.section(given, key, ("path", "revision"), needed=["path"])
    revision = section.get("revision")
    if not isinstance(section["path"], str) or not isinstance(revision, str | None):
        raise lines.error(key, f"a path and a revision are text, got {dict(section)!r}")
    return section["path"], revision
