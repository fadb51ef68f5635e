"""The encoder equals a plain forward pass, whatever the batches, and takes other weights in place."""

import subprocess
import sys

import pytest
import torch

from mergeometry.encoders.packed import PackedLinear, pack_linears, packing_helps
from mergeometry.errors import DataError
from mergeometry_suite.backbone import backbone
from mergeometry_suite.minilm import Encoder, Tokenizer, build_model
from mergeometry_suite.tasks import load

TEXTS = [*load("movie").test.texts[:20], *load("language").test.texts[:20], "word", "long " * 100]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(backbone())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(backbone(), 32)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(backbone() / "model.safetensors")


def plain_features(texts: list[str]) -> torch.Tensor:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(backbone(), local_files_only=True)
    model = AutoModel.from_pretrained(backbone(), local_files_only=True).eval()
    with torch.inference_mode():
        return torch.cat(
            [
                model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).last_hidden_state.mean(1)
                for text in texts
            ]
        )


def test_equals_one_plain_forward_pass_a_text(encoder: Encoder, tokenizer: Tokenizer) -> None:
    features = encoder.encode(tokenizer.prepare(TEXTS))
    torch.testing.assert_close(features, plain_features(TEXTS), rtol=0, atol=3e-6)


def test_the_same_bits_again_and_with_any_number_of_threads(encoder: Encoder, tokenizer: Tokenizer) -> None:
    prepared = tokenizer.prepare(TEXTS)
    first = encoder.encode(prepared)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(first, encoder.encode(prepared))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_preparation_keeps_every_text_and_pads_little(tokenizer: Tokenizer) -> None:
    prepared = tokenizer.prepare(list(load("trec").test.texts))
    rows = torch.cat([batch.rows for batch in prepared.batches])
    assert sorted(rows.tolist()) == list(range(500))
    assert sum(batch.mask.sum().item() for batch in prepared.batches) > 0.9 * sum(
        batch.mask.numel() for batch in prepared.batches
    )
    assert tokenizer.prepare([]).count == 0


def test_new_weights_are_taken_in_place(
    encoder: Encoder, tokenizer: Tokenizer, weights: dict[str, torch.Tensor]
) -> None:
    prepared = tokenizer.prepare(TEXTS[:8])
    base = encoder.encode(prepared)
    generator = torch.Generator().manual_seed(0)
    other = {name: weight + 0.01 * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}
    encoder.load(other)
    changed = encoder.encode(prepared)
    reference = build_model(backbone())
    reference.load_state_dict({name: weight for name, weight in other.items() if "pooler" not in name}, strict=False)
    with torch.inference_mode():
        for batch in prepared.batches:
            hidden = reference(input_ids=batch.tokens, attention_mask=batch.mask).last_hidden_state
            mask = batch.mask.unsqueeze(-1)
            expected = (hidden * mask).sum(1) / mask.sum(1)
            torch.testing.assert_close(changed[batch.rows], expected, rtol=1e-4, atol=1e-5)
    encoder.load(weights)
    assert torch.equal(encoder.encode(prepared), base)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_some_weights_leave_the_others(
    encoder: Encoder, tokenizer: Tokenizer, weights: dict[str, torch.Tensor], part: str
) -> None:
    name = f"encoder.layer.3.output.dense.{part}"
    prepared = tokenizer.prepare(TEXTS[:4])
    encoder.load({name: 2 * weights[name]}, partial=True)
    changed = encoder.encode(prepared)
    encoder.load({**weights, name: 2 * weights[name]})
    torch.testing.assert_close(encoder.encode(prepared), changed, rtol=1e-5, atol=1e-5)
    encoder.load(weights)


def test_weights_of_another_model_are_refused(encoder: Encoder, weights: dict[str, torch.Tensor]) -> None:
    name = "encoder.layer.0.output.dense.weight"
    with pytest.raises(DataError, match="is missing"):
        encoder.load({key: weight for key, weight in weights.items() if key != name})
    with pytest.raises(DataError, match="does not fit"):
        encoder.load({"bert." + name: weights[name]}, partial=True)
    with pytest.raises(DataError, match="does not fit"):
        encoder.load({name: weights[name][:5]}, partial=True)


@pytest.mark.skipif(not packing_helps(), reason="torch was built without oneDNN")
def test_a_packed_layer_equals_a_plain_one_and_passes_gradients_on() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(48, 96)
    packed = PackedLinear(plain.weight, plain.bias, trains=True)
    inputs = torch.randn(3, 7, 48, requires_grad=True)
    twin = inputs.detach().clone().requires_grad_(True)
    direction = torch.randn(3, 7, 96)
    (plain(inputs) * direction).sum().backward()
    (packed(twin) * direction).sum().backward()
    torch.testing.assert_close(packed(twin), plain(inputs))
    torch.testing.assert_close(twin.grad, inputs.grad)
    torch.testing.assert_close(packed.dense(), plain.weight.detach(), rtol=1e-5, atol=1e-6)
    assert pack_linears(torch.nn.ModuleDict({"layer": plain})).keys() == {"layer"}


def test_without_transformers_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from mergeometry.errors import DataError\n"
        "from mergeometry.encoders.library import import_transformers\n"
        "try: import_transformers()\n"
        "except DataError as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'mergeometry[adapt]'; in a checkout: pip install '.[adapt]'" in shown
