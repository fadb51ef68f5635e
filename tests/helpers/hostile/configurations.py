"""Configurations that ask for code, or are none."""

from __future__ import annotations

from tests.helpers.hostile.trick import Setting, trick


@trick("'a' twice", file="config.json")
def duplicate_key(setting: Setting) -> None:
    """A setting twice, of which libraries keep different ones."""
    (setting.model / "config.json").write_text('{"a": 1, "a": 2}')


@trick("nested deeper than 64", file="config.json")
def deep_nesting(setting: Setting) -> None:
    """Brackets within brackets."""
    (setting.model / "config.json").write_text('{"a": ' + "[" * 900 + "]" * 900 + "}")


@trick("must be a JSON object", file="config.json")
def no_object(setting: Setting) -> None:
    """A list where settings belong."""
    (setting.model / "config.json").write_text("[]")


@trick("at most 4,194,304", file="config.json")
def large_configuration(setting: Setting) -> None:
    """A configuration of gigabytes, sparse on the disk."""
    with (setting.model / "config.json").open("wb") as file:
        file.truncate(1 << 33)


@trick("quantised", file="config.json")
def quantised_in_silence(setting: Setting) -> None:
    """Weights that only look like floats: a quantised model's."""
    (setting.model / "config.json").write_text('{"quantization_config": {"quant_method": "gptq", "bits": 4}}')
