"""The recipe's key `tokenizer`: whose vocabulary the output gets, and where rows of single tokens come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mergeometry.recipe.stack import as_text
from mergeometry.recipe.strict import StrictModel
from mergeometry.words import nearest

UNION = "union"
"""In place of a model's name: the tokens of all models."""
AUTO_TEMPLATE = "auto"
"""In place of a model's name: the chat template that most of the models have."""


class ZeroRow(StrictModel):
    """A row of zeros."""

    kind: Literal["zero"]


class TokenRow(StrictModel):
    """The row that a model has for a token, which is given as text or by its id in that model."""

    kind: Literal["model_token"]
    model: Annotated[str, Field(min_length=1)]
    token: str | None = None
    token_id: Annotated[int, Field(ge=0, strict=True)] | None = None

    @model_validator(mode="after")
    def _one_token(self) -> TokenRow:
        if (self.token is None) == (self.token_id is None):
            raise ValueError("give either `token` or `token_id`")
        return self


Source = Annotated[
    Annotated[str, Field(min_length=1), Tag("<name>")] | Annotated[ZeroRow, Tag("<zero>")]
    | Annotated[TokenRow, Tag("<row>")],
    Discriminator(
        lambda value: "<name>"
        if isinstance(value, str)
        else "<zero>"
        if (value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)) == "zero"
        else "<row>"
    ),
]  # fmt: skip


class TokenRule(StrictModel):
    """Where the row of one token comes from in models that lack it, or, with ``force``, in all models."""

    shorthand: ClassVar[str] = "source"
    source: Source
    force: bool = False


def _as_rule(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class TokenizerOptions(StrictModel):
    """Whose vocabulary the output gets, rules for single tokens, and how many rows its tables have."""

    shorthand: ClassVar[str] = "source"
    source: Annotated[str, Field(min_length=1)] = UNION
    tokens: dict[str, Annotated[TokenRule, BeforeValidator(_as_rule)]] = Field(default_factory=dict)
    pad_to_multiple_of: Annotated[int, Field(ge=1, strict=True)] | None = None
    donor: Annotated[str, BeforeValidator(as_text), Field(min_length=1)] | None = None
    missing: Literal["nearest", "omp", "mean"] = "nearest"
    neighbours: Annotated[int, Field(ge=1, strict=True)] = 8

    @model_validator(mode="after")
    def _one_source(self) -> TokenizerOptions:
        given = self.model_fields_set
        if self.donor is not None and given & {"source", "tokens"}:
            raise ValueError("`donor` takes the place of `source` and `tokens`: leave them out")
        if self.donor is None and given & {"missing", "neighbours"}:
            raise ValueError("`missing` and `neighbours` say how rows come from a `donor`: name one")
        return self

    @property
    def named(self) -> str:
        """The name of the input whose tokens the output has."""
        return self.source if self.donor is None else "donor"


TokenizerField = Annotated[
    Annotated[str, Field(min_length=1), Tag("<word>")] | Annotated[TokenizerOptions, Tag("<mapping>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<mapping>"),
]


def tokenizer_options(tokenizer: str | TokenizerOptions | None) -> TokenizerOptions | None:
    """The key in its long form."""
    return TokenizerOptions(source=tokenizer) if isinstance(tokenizer, str) else tokenizer


def is_template(text: str) -> bool:
    """Whether a chat template is given by its text, or is to be the one that most models have."""
    return text == AUTO_TEMPLATE or "{{" in text or "{%" in text


def unknown_names(options: TokenizerOptions, known: list[str]) -> Iterator[str]:
    """One sentence on each name that no model has."""
    named = {"tokenizer": options.source} if options.donor is None else {}
    for token, rule in options.tokens.items():
        if isinstance(rule.source, TokenRow):
            named[f"tokenizer.tokens.{token}.source.model"] = rule.source.model
        elif isinstance(rule.source, str):
            named[f"tokenizer.tokens.{token}.source"] = rule.source
    for key, name in named.items():
        if key == "tokenizer" and name == UNION:
            if UNION in known:
                yield f"tokenizer: {UNION!r} is the union of all vocabularies, so no model can have that name"
        elif name not in known:
            yield f"{key}: no model is named {name!r}{nearest(name, [*known, UNION] if key == 'tokenizer' else known)}"
