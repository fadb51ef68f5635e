"""Which matrices are stored as (inputs, outputs)."""

from __future__ import annotations

from typing import Any

import pytest

from mergeometry.conventions.layouts import Layouts

GPT2 = {"h.0.attn.c_attn.weight": (6, 18), "h.0.attn.c_attn.bias": (18,), "h.0.attn.c_proj.weight": (6, 6)}
LINEAR = {"h.0.attn.c_attn.weight": (18, 6), "h.0.attn.c_attn.bias": (18,), "h.0.attn.c_proj.weight": (6, 6)}


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("transformer.h.0.attn.c_attn.weight", {"model_type": "gpt2"}, True),
        ("h.0.mlp.c_fc.bias", {"model_type": "gpt2"}, False),
        ("score.weight", {"model_type": "gpt2"}, False),
        ("h.0.mlp.c_fc.weight", {"model_type": "gpt_bigcode"}, False),
        ("h.0.mlp.c_fc.weight", None, False),
        (
            "decoder.transformer.h.0.attn.c_proj.weight",
            {
                "model_type": "vision-encoder-decoder",
                "encoder": {"model_type": "vit"},
                "decoder": {"model_type": "gpt2"},
            },
            True,
        ),
        ("h.0.attn.c_proj.weight", {"model_type": "clvp", "decoder_config": {"model_type": "clvp_decoder"}}, True),
    ],
)
def test_a_configuration_tells_the_layout(name: str, config: dict[str, Any] | None, expected: bool) -> None:
    assert Layouts({}, config).is_transposed(name) is expected


@pytest.mark.parametrize(("shapes", "expected"), [(GPT2, True), (LINEAR, False)])
def test_one_layer_that_is_not_square_tells_the_layout_of_all(shapes: dict[str, tuple], expected: bool) -> None:
    layouts = Layouts(shapes, None)
    assert layouts.is_transposed("h.0.attn.c_proj.weight") is expected
    assert layouts.is_known("h.0.attn.c_proj.weight")


def test_shapes_are_believed_before_a_configuration() -> None:
    assert not Layouts(LINEAR, {"model_type": "gpt2"}).is_transposed("h.0.attn.c_proj.weight")


def test_a_square_layer_alone_tells_nothing() -> None:
    layouts = Layouts({"h.0.attn.c_proj.weight": (6, 6), "h.0.attn.c_proj.bias": (6,)}, None)
    assert not layouts.is_known("h.0.attn.c_proj.weight") and layouts.is_known("score.weight")


def test_parts_of_one_model_may_differ() -> None:
    shapes = {f"decoder.{name}": shape for name, shape in GPT2.items()}
    shapes |= {f"encoder.{name}": shape for name, shape in LINEAR.items()}
    layouts = Layouts(shapes, None)
    assert layouts.is_transposed("decoder.h.0.attn.c_proj.weight")
    assert not layouts.is_transposed("encoder.h.0.attn.c_proj.weight")
