"""Gives every input's tables a row for each of the output's tokens, taken from its own rows or from another input's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mergeometry.deferred import Bool, Int, Tensor, torch
from mergeometry.plan.compare import carried_by, source_of
from mergeometry.plan.matching import Match
from mergeometry.plan.tasks import Source
from mergeometry.plan.transplant import Combined
from mergeometry.recipe.tokenizer import TokenRow, TokenRule
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo
from mergeometry.sources.mapped import Rows, mapped
from mergeometry.sources.updates import TokenRows

Model = Checkpoint | Adapter
_SHOWN = 3


@dataclass(frozen=True)
class Rule:
    """Where the row of one token comes from: an input and its row, or nowhere (zeros)."""

    row: int
    donor: int | None
    source: int
    force: bool


@dataclass(frozen=True)
class Places:
    """Where the output's rows lie in every input: the base first, then the models."""

    own: Int[Tensor, "inputs rows"]
    """The row that an input has for each of the output's rows, or -1."""
    tokens: Bool[Tensor, " rows"]
    """Whether a row is that of a token, not padding."""
    source: int
    """The input whose rows that are no token's are kept."""
    rules: tuple[Rule, ...]
    padding: int
    """How many more rows follow, each the mean of all others."""
    names: Mapping[int, str]
    """The token of a row, for messages."""
    combined: Combined | None = None
    """Rows that no input has, as sums of rows of the base's table."""

    @property
    def count(self) -> int:
        """How many rows the output's tables have, the padding included."""
        return self.own.shape[1] + self.padding


def places_of(
    ids: Mapping[str, int],
    known: Sequence[Mapping[str, int]],
    rows: Sequence[int],
    source: int,
    *,
    rules: Sequence[Rule] = (),
    multiple: int | None = None,
    combined: Combined | None = None,
) -> Places:
    """Find each of the output's tokens in every input, whose tables have so many ``rows``."""
    found = torch.tensor([[one.get(token, -1) for token in ids] for one in known], dtype=torch.int64)
    found[found >= torch.tensor(rows)[:, None]] = -1
    places = torch.tensor(list(ids.values()), dtype=torch.int64)
    last = -1 if combined is None else max(ids.values())
    last = max([last, *places[(found >= 0).any(0)].tolist(), *(rule.row for rule in rules)])
    count = last + 1 if multiple or combined is not None else max(last + 1, rows[source])
    inside = places < count
    own = torch.full((len(known), count), -1, dtype=torch.int64)
    tokens = torch.zeros(count, dtype=torch.bool)
    own[:, places[inside]] = found[:, inside]
    tokens[places[inside]] = True
    # A row of no token comes from each input in which it belongs to no token either.
    empty = (~tokens).nonzero().flatten()
    for index, (one, size) in enumerate(zip(known, rows, strict=True)) if combined is None else ():
        taken = torch.zeros(max(count, size), dtype=torch.bool)
        values = torch.tensor(list(one.values()), dtype=torch.int64)
        taken[values[values < len(taken)]] = True
        own[index, empty] = torch.where(taken[empty] | (empty >= size), -1, empty)
    padding = -count % multiple if multiple else 0
    return Places(own, tokens, source, tuple(rules), padding, {row: token for token, row in ids.items()}, combined)


def rules_of(
    rules: Mapping[str, TokenRule],
    ids: Mapping[str, int],
    labels: Sequence[str],
    known: Sequence[Mapping[str, int]],
    rows: Sequence[int],
) -> list[Rule]:
    """The recipe's rules for single tokens, by rows.

    Raises:
        ValueError: a rule names a token or a row that its model lacks.
    """
    found = []
    for token, rule in rules.items():
        source, key = rule.source, f"tokenizer.tokens.{token}"
        if not isinstance(source, str | TokenRow):
            found.append(Rule(ids[token], None, 0, rule.force))
            continue
        donor = labels.index(source if isinstance(source, str) else source.model)
        text = token if isinstance(source, str) else source.token
        row = known[donor].get(text, -1) if text is not None else source.token_id  # pyright: ignore
        assert row is not None
        if not 0 <= row < rows[donor]:
            what = f"row {row}" if text is None else f"token {text!r}"
            raise ValueError(f"{key}: {labels[donor]} has no {what}; take another model's, or `source: {{kind: zero}}`")
        found.append(Rule(ids[token], donor, row, rule.force))
    return found


def map_tables(
    base: Checkpoint, models: Sequence[Model], matches: Sequence[Match], tables: Mapping[str, int], places: Places
) -> tuple[Checkpoint, tuple[Model, ...], list[str]]:
    """The inputs with mapped tables, and the reasons why one cannot be mapped.

    ``tables`` are the base's tensors that have a row for each token, with the dimension that counts them.
    """
    changed: list[dict[str, Source]] = [{} for _ in models]
    carried: list[dict[str, TensorInfo]] = [{} for _ in models]
    own_base: dict[str, TensorInfo] = {}
    reasons: list[str] = []
    for name, axis in tables.items():
        pairs = [match.pairs.get(name) for match in matches]
        sources = [source_of(model, own) for model, own in zip(models, pairs, strict=True)]
        infos = [base.tensors[name], *(one if isinstance(one, TensorInfo) else None for one in sources)]
        filled = _Filled(places, infos, axis)
        reasons.extend(f"{name!r}: {reason}" for reason in filled.missing())
        own_base[name] = filled.of(0, base.tensors[name])
        for index, (model, own, source) in enumerate(zip(models, pairs, sources, strict=True)):
            if own is None:
                continue
            if isinstance(source, TensorInfo):
                changed[index][own] = filled.of(index + 1, source)
            elif source is not None:
                new = _update(places, index + 1, source, base.tensors[name].shape[axis])
                if new is None:
                    reasons.append(
                        f"{model.label}: its update of {name!r} is formed from the whole table, which another "
                        "vocabulary changes; merge the adapter with peft's merge_and_unload and give that folder"
                    )
                else:
                    changed[index][own] = new
            if (copy := carried_by(model, own)) is not None:
                carried[index][own] = filled.of(index + 1, copy)
    new_models = tuple(_with(*one) for one in zip(models, changed, carried, strict=True))
    return replace(base, tensors={**base.tensors, **own_base}), new_models, reasons


class _Filled:
    """One table in all inputs: which has a row for each token, and where the others take theirs from."""

    def __init__(self, places: Places, infos: Sequence[TensorInfo | None], axis: int) -> None:
        self._places, self._infos, self._axis = places, infos, axis
        sizes = torch.tensor([0 if info is None else info.shape[axis] for info in infos])
        self._own = torch.where(places.own < sizes[:, None], places.own, -1)
        have = self._own >= 0
        self._have = have
        count = have.sum(0)
        self._ruled = torch.zeros(have.shape[1], dtype=torch.bool)
        self._ruled[[rule.row for rule in places.rules]] = True
        if places.combined is not None:
            self._ruled[places.combined.targets] = True
        self._forced = torch.zeros_like(self._ruled)
        self._forced[[rule.row for rule in places.rules if rule.force]] = True
        first = have.int().argmax(0)  # the base's, where it has the row
        self._donor = torch.where(~places.tokens & have[places.source], places.source, first)
        self._donor[(count == 0) | self._ruled] = -1
        self._mean = places.tokens & ~have[0] & (count > 1) & ~self._ruled
        self._donor[self._mean] = -1
        self._count = count

    def missing(self) -> Iterator[str]:
        """One sentence where nobody has rows for some tokens."""
        rows = (self._places.tokens & (self._count == 0) & ~self._ruled).nonzero().flatten().tolist()
        if rows:
            shown = ", ".join(repr(self._places.names[row]) for row in rows[:_SHOWN])
            token = self._places.names[rows[0]]
            yield (
                f"no model has rows for {len(rows)} tokens of the output: {shown}; say where they come from, such as "
                f"`tokenizer: {{tokens: {{{token!r}: {{source: {{kind: zero}}}}}}}}`"
            )

    def of(self, index: int, info: TensorInfo) -> TensorInfo:
        """An input's table with all rows of the output; as it is, where it has them in their places."""
        places, own = self._places, self._own[index]
        kept = self._have[index] & ~self._forced
        size = info.shape[self._axis]
        if not places.padding and bool(kept.all()) and torch.equal(own, torch.arange(size)):
            return info
        rows = [Rows(info, targets := kept.nonzero().flatten(), own[targets])]
        for donor, other in enumerate(self._infos):
            if other is None:
                continue
            targets = (~kept & (self._donor == donor)).nonzero().flatten()
            rows.append(Rows(other, targets, self._own[donor][targets]))
            targets = (~kept & self._mean & self._have[donor]).nonzero().flatten()
            rows.append(Rows(other, targets, self._own[donor][targets], 1 / self._count[targets]))
        for rule in places.rules:
            donor = None if rule.donor is None else self._infos[rule.donor]
            if donor is not None and not bool(kept[rule.row]) and rule.source < donor.shape[self._axis]:
                rows.append(Rows(donor, torch.tensor([rule.row]), torch.tensor([rule.source])))
        if (sums := places.combined) is not None and (base := self._infos[0]) is not None:
            rows.append(Rows(base, sums.targets, sums.sources, sums.shares))
        filled = tuple(one for one in rows if len(one.targets))
        return mapped(info, places.count, filled, axis=self._axis, padding=places.padding)


def _update(places: Places, index: int, update: Source, size: int) -> Source:
    """An adapter's update of a table, for the output's rows; None where it cannot be mapped."""
    own = torch.where(places.own[index] < size, places.own[index], -1)
    if not places.padding and torch.equal(own, torch.arange(size)) and not any(rule.force for rule in places.rules):
        return update
    kept = own >= 0
    kept[[rule.row for rule in places.rules if rule.force]] = False
    targets = kept.nonzero().flatten()
    if isinstance(update, AdapterDelta):
        # Settings may call a factor transposed that is not: then the right one has the rows.
        side = "left" if update.shape[0] == size and (update.embedding or not update.transposed) else "right"
        factor, axis = getattr(update, side), int(update.transposed == (side == "left"))
        return replace(
            update, **{side: mapped(factor, places.count, (Rows(factor, targets, own[targets]),), axis=axis)}
        )
    if isinstance(update, TokenRows):
        rows = {int(own[target]): int(target) for target in targets}
        pairs = sorted((rows[token], place) for place, token in enumerate(update.tokens) if token in rows)
        if not pairs:
            return None
        new, old = zip(*pairs, strict=True)
        part = Rows(update.info, torch.arange(len(old)), torch.tensor(old))
        return TokenRows(mapped(update.info, len(old), (part,)), tuple(new))
    return None


def _with(model: Model, changed: Mapping[str, Source], carried: Mapping[str, TensorInfo]) -> Model:
    """A model with some of its tensors in a new form."""
    if isinstance(model, Checkpoint):
        return replace(model, tensors={n: changed.get(n, info) for n, info in model.tensors.items()})  # pyright: ignore
    return replace(
        model,
        deltas={name: changed.get(name, one) for name, one in model.deltas.items()},
        updates={name: changed.get(name, one) for name, one in model.updates.items()},
        replaced={name: changed.get(name, one) for name, one in model.replaced.items()},
        carried={name: carried.get(name, one) for name, one in model.carried.items()},
    )
