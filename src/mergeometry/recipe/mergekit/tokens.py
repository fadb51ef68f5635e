"""mergekit's `tokenizer_source`, `tokenizer` and `chat_template`, as keys of our recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mergeometry.recipe.mergekit.document import Document, Reference, read_reference
from mergeometry.recipe.mergekit.lines import Key

_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TEMPLATES = {"chatml": _CHATML}
"""Templates that mergekit knows by name, and that are plain enough to be one."""
_OTHERS = ("alpaca", "exaone", "llama3", "mistral")


class Named(Protocol):
    """What the models are called."""

    def of(self, reference: Reference) -> str | None:
        """The name of a model."""
        ...


def tokenizer_keys(document: Document, names: Named) -> dict[str, Any]:
    """The keys `tokenizer` and `chat_template` of our recipe.

    Raises:
        RecipeError: a value is not of its kind, or names a model that is not merged.
    """
    given, lines = document.given, document.lines
    found: dict[str, Any] = {}
    if given.get("tokenizer_source") and given.get("tokenizer"):
        raise lines.error(("tokenizer",), "`tokenizer_source` and `tokenizer` are two ways to say one thing")
    if given.get("tokenizer_source") is not None:
        found["tokenizer"] = _source(given["tokenizer_source"], ("tokenizer_source",), document, names)
    elif given.get("tokenizer") is not None:
        found["tokenizer"] = _options(document, names)
    template = given.get("chat_template")
    if template is not None:
        found["chat_template"] = _template(template, document)
    return found


def _source(given: Any, key: Key, document: Document, names: Named) -> str:
    if given in ("union", "base"):
        return given
    reference = read_reference(given, key, document.lines, [])
    name = names.of(reference)
    if name is None:
        raise document.lines.error(key, f"{reference.text!r} is none of the merged models, nor their base")
    return name


def _options(document: Document, names: Named) -> dict[str, Any]:
    lines = document.lines
    key: Key = ("tokenizer",)
    section = lines.section(document.given["tokenizer"], key, ("source", "tokens", "pad_to_multiple_of"))
    found: dict[str, Any] = {"source": _source(section.get("source", "union"), (*key, "source"), document, names)}
    if section.get("tokens") is not None:
        tokens = section["tokens"]
        if not isinstance(tokens, dict):
            raise lines.error((*key, "tokens"), f"a mapping of tokens is needed, got {tokens!r}")
        found["tokens"] = {
            str(token): _rule(rule, (*key, "tokens", token), document, names) for token, rule in tokens.items()
        }
    if section.get("pad_to_multiple_of") is not None:
        found["pad_to_multiple_of"] = section["pad_to_multiple_of"]
    return found


def _rule(given: Any, key: Key, document: Document, names: Named) -> dict[str, Any]:
    lines = document.lines
    section = lines.section(given, key, ("source", "force"), needed=["source"])
    found: dict[str, Any] = {"source": _row(section["source"], (*key, "source"), document, names)}
    if "force" in section:
        if not isinstance(section["force"], bool):
            raise lines.error((*key, "force"), f"true or false, got {section['force']!r}")
        found["force"] = section["force"]
    return found


def _row(given: Any, key: Key, document: Document, names: Named) -> Any:
    if not (isinstance(given, dict) and "kind" in given):
        return _source(given, key, document, names)
    kinds: dict[str, Sequence[str]] = {"zero": ("kind",), "model_token": ("kind", "model", "token", "token_id")}
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise document.lines.error((*key, "kind"), f"zero or model_token, got {kind!r}")
    section = document.lines.section(given, key, kinds[kind])
    if given["kind"] == "zero":
        return {"kind": "zero"}
    if section.get("model") is None:
        raise document.lines.error(key, "'model' is missing")
    return {**section, "model": _source(section["model"], (*key, "model"), document, names)}


def _template(given: Any, document: Document) -> str:
    if not isinstance(given, str):
        raise document.lines.error(("chat_template",), f"text is needed, got {given!r}")
    if given == "auto" or "{{" in given or "{%" in given:
        return given
    if given in _TEMPLATES:
        return _TEMPLATES[given]
    known = ", ".join(["auto", *_TEMPLATES])
    what = f"mergekit's own template {given!r} is not part of ours" if given in _OTHERS else f"{given!r} is no template"
    raise document.lines.error(("chat_template",), what, f"give its text, a name of ours ({known}), or leave it out")
