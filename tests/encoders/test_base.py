"""Every encoder: features are those of transformers' own forward pass, under any weights, on any thread."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mergeometry.encoders.language import LanguageModel
from tests.helpers.encoder_models import (
    CAUSAL,
    CLOSE,
    MODELS,
    SEQ2SEQ,
    TEXT,
    VISION,
    encoder_of,
    made,
    one_by_one,
    ready,
    reference,
    run,
    tuned,
)


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_features_are_those_of_transformers(name: str, folders: Any, images: Any) -> None:
    encoder = encoder_of(folders(name))
    inputs = ready(encoder, images)
    expected = reference(made(name), encoder, inputs, "first" if name in VISION else "mean")
    assert expected.shape == (sum(inputs.rows), encoder.width) and expected.std() > 0.01
    torch.testing.assert_close(run(encoder, inputs), expected, **CLOSE)
    torch.testing.assert_close(one_by_one(encoder, inputs), expected, **CLOSE)


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_other_weights_make_the_model_that_has_them(name: str, folders: Any, images: Any, tmp_path: Path) -> None:
    import transformers

    encoder = encoder_of(folders(name))
    inputs = ready(encoder, images)
    before = run(encoder, inputs)
    other, weights = tuned(folders(name), encoder, tmp_path / "other")
    model = getattr(transformers, MODELS[name][0]).from_pretrained(other).eval()
    expected = reference(model, encoder, inputs, "first" if name in VISION else "mean")
    assert (expected - before).abs().max() > 0.05
    torch.testing.assert_close(run(encoder, inputs, weights), expected, **CLOSE)
    # The base's own weights stay as they are.
    assert torch.equal(run(encoder, inputs), before)


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_every_weight_that_is_named_is_used(name: str, folders: Any, images: Any) -> None:
    encoder = encoder_of(folders(name))
    named = [own for own in encoder.names.values() if own is not None]
    leaves = {own: encoder.base(own).detach().clone().requires_grad_() for own in named}
    features = encoder.features(encoder.module, leaves, encoder.batch(ready(encoder, images).items))
    value = features @ encoder.head_weight(leaves).mT if isinstance(encoder, LanguageModel) else features
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True)
    assert [own for own, gradient in zip(named, gradients, strict=True) if gradient is None] == []
    unnamed = {name for name, own in encoder.names.items() if own is None}
    allowed = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token", "final_logits_bias"}
    assert unnamed <= allowed
    assert len(named) == len(set(named)) >= 20


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "dinov2"])
def test_copies_run_under_weights_of_their_own(name: str, folders: Any, images: Any, tmp_path: Path) -> None:
    encoder = encoder_of(folders(name))
    batch = encoder.batch(ready(encoder, images).items)
    _, weights = tuned(folders(name), encoder, tmp_path / "other")
    modules = encoder.copies(2)
    shared = {id(parameter) for parameter in encoder.module.parameters()}
    assert all({id(parameter) for parameter in module.parameters()} == shared for module in modules)

    def several(given: tuple[nn.Module, Mapping[str, Tensor]]) -> list[Tensor]:
        with torch.no_grad():
            return [encoder.features(given[0], given[1], batch) for _ in range(30)]

    alone = [several((encoder.module, own))[0] for own in ({}, weights)]
    assert not torch.allclose(*alone, atol=1e-2)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(several, zip(modules, ({}, weights), strict=True)))
    for expected, found in zip(alone, together, strict=True):
        assert all(torch.equal(one, expected) for one in found)
