"""Puts weights that are formed while they are read in the place of what a quantised model stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mergeometry.conventions.quantised import CONFIGURATION_KEYS, quantisation_settings
from mergeometry.deferred import torch
from mergeometry.dtypes import NAMED_CODES
from mergeometry.errors import SourceError
from mergeometry.sources.formed import formed
from mergeometry.sources.quantised.bitsandbytes import bitsandbytes
from mergeometry.sources.quantised.mxfp4 import mxfp4
from mergeometry.sources.quantised.packed import awq, compressed, gptq
from mergeometry.sources.quantised.scaled import scaled
from mergeometry.sources.quantised.weight import Build
from mergeometry.sources.reader import TensorReader
from mergeometry.sources.tensors import TensorInfo

_FORMATS: Mapping[str, Build] = {
    "bitsandbytes": bitsandbytes, "GPTQ": gptq, "AWQ": awq, "compressed-tensors": compressed, "MXFP4": mxfp4,
    "scaled 8 bit": scaled,
}  # fmt: skip
_SMALL = 1 << 16


class Dequantised(NamedTuple):
    """A model's tensors with its weights as numbers, its configuration, and what was done, in words."""

    tensors: dict[str, TensorInfo]
    config: dict[str, Any] | None
    changed: dict[str, Any]
    note: str


def dequantised(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any] | None) -> Dequantised:
    """Replace what quantised formats store by weights that are formed from it while they are read.

    A weight has the precision that its format names for it, else the configuration's, else float32.

    Raises:
        SourceError: a format is known and this variant of it is not, or its tensors do not fit each other.
    """
    given = dict(config or {})
    settings = next((one for one in quantisation_settings(given) if isinstance(one, dict)), {})
    default = NAMED_CODES.get(_dtype(given), "F32")
    left, weights, counts = dict(tensors), dict[str, TensorInfo](), dict[str, int]()
    with TensorReader() as reader:

        def read(info: TensorInfo) -> bytes:
            if info.nbytes > _SMALL:
                raise ValueError(f"{info.name!r} is too large for what it should be")
            return reader.read(info).reshape(-1).view(torch.uint8).numpy().tobytes()

        for name, info in tensors.items():
            for form, build in _FORMATS.items():
                if name not in left:
                    break
                try:
                    weight = build(name, left, settings, read)
                except ValueError as error:
                    raise SourceError(
                        f"the weight cannot be de-quantised: {error}", file=info.file, tensor=name,
                        hint="merge the model in 16 or 32 bit that it was made from",
                    ) from error  # fmt: skip
                if weight is None:
                    continue
                for each in weight.replaces:
                    left.pop(each, None)
                if weight.name in left or weight.name in weights:
                    raise SourceError("the weight is stored twice", file=info.file, tensor=weight.name)
                code = NAMED_CODES.get(weight.dtype or "", default)
                weights[weight.name] = formed(weight.name, weight.shape, code, weight.form)
                counts[form] = counts.get(form, 0) + 1
    plain, changed = _without_settings(given)
    note = ", ".join(f"{count} weights de-quantised from {form}" for form, count in counts.items())
    return Dequantised(dict(sorted({**left, **weights}.items())), plain if config is not None else None, changed, note)


def _dtype(config: Mapping[str, Any]) -> str:
    sections = (config, *(value for value in config.values() if isinstance(value, dict)))
    named = (section.get(key) for section in sections for key in ("dtype", "torch_dtype"))
    return next((one.removeprefix("torch.") for one in named if isinstance(one, str)), "")


def _without_settings(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of the model in full precision, and the keys that differ; None where one is gone."""
    plain: dict[str, Any] = {}
    for key, value in config.items():
        if key in CONFIGURATION_KEYS:
            continue
        section = isinstance(value, dict) and any(each in value for each in CONFIGURATION_KEYS)
        plain[key] = {k: v for k, v in value.items() if k not in CONFIGURATION_KEYS} if section else value
    changed = {key: plain.get(key) for key, value in config.items() if plain.get(key) != value}
    return plain, changed
