"""Encoders: features are those of transformers' own forward pass, under any weights, padded or not, on any thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from mergeometry.encoders import Encoder, Inputs, build_encoder
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.image import ImageEncoder
from mergeometry.encoders.language import OUTPUT, LanguageModel
from mergeometry.encoders.plain import PlainEncoder
from mergeometry.encoders.seq2seq import Pair, Seq2SeqEncoder
from mergeometry.encoders.text import TextEncoder
from mergeometry.errors import DataError, MismatchError
from mergeometry.inputs import UnlabelledData
from mergeometry.recipe.adapt import EncoderOptions
from mergeometry.sources import open_checkpoint

CPU = torch.device("cpu")
WORDS = [f"w{number}" for number in range(34)]
TEXTS = ("w1 w2 w3", "w4 w5 w6 w7 w8 w9 w10", "w11 w12", "w13 w2 w33 w21 w9")
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
DECODER = {"vocab_size": 40, "d_model": 16}
BART = {
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", {**SIZES, "vocab_size": 40, "max_position_embeddings": 32}),
    "llama": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**SIZES, "vocab_size": 40, "num_key_value_heads": 1, "tie_word_embeddings": False, **SPECIAL},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, **SPECIAL},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**DECODER, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0, **SPECIAL},
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        {**DECODER, **BART, **SPECIAL, "decoder_start_token_id": 3, "forced_eos_token_id": None},
    ),
    "marian": (
        "MarianMTModel",
        "MarianConfig",
        {**DECODER, **BART, **SPECIAL, "decoder_start_token_id": 0, "forced_eos_token_id": None},
    ),
    "vit": ("ViTModel", "ViTConfig", {**SIZES, "image_size": 28, "patch_size": 7}),
    "dinov2": (
        "Dinov2Model",
        "Dinov2Config",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 28,
         "patch_size": 7},
    ),
    "registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 28,
         "patch_size": 7, "num_register_tokens": 3},
    ),
}  # fmt: skip
"""Class, configuration and its settings of each tiny model."""

TEXT, CAUSAL, SEQ2SEQ, VISION = ["bert"], ["llama", "gpt2"], ["t5", "bart", "marian"], ["vit", "dinov2", "registers"]


def made(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model with weights that are all random: fresh ones have biases of 0 and norms of 1, which hide mistakes."""
    import transformers

    kind, config, settings = MODELS[name]
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(getattr(transformers, config)(**{**settings, **changes})).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Encoder-decoders a lot, or they write one token again and again.
            parameter.data += (0.5 if name in SEQ2SEQ else 0.1) * torch.randn_like(parameter)
    return model


def save_tokenizer(folder: Path) -> None:
    import tokenizers
    import transformers

    numbers = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )


def save_processor(folder: Path) -> None:
    import transformers

    transformers.BitImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}, image_mean=[0.4, 0.5, 0.6]
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("bases")

    def folder(name: str) -> Path:
        place = root / name
        if not place.exists():
            made(name).save_pretrained(place)
            (save_processor if name in VISION else save_tokenizer)(place)
        return place

    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    from PIL import Image

    root, paths = tmp_path_factory.mktemp("images"), []
    generator = torch.Generator().manual_seed(0)
    for number, size in enumerate([(40, 50), (28, 28), (64, 33)]):
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
        paths.append(root / f"{number}.png")
        Image.fromarray(pixels.numpy()).save(paths[-1])
    return tuple(paths)


def texts(values: Sequence[str] = TEXTS) -> UnlabelledData:
    return UnlabelledData(tuple(values), "texts", (), "")


def pictures(paths: Sequence[Path]) -> UnlabelledData:
    return UnlabelledData(tuple(paths), "images", (), "")


def encoder_of(folder: Path, pooling: Any = None, longest: int = 32) -> Any:
    options = EncoderOptions(pooling=pooling, max_length=longest)
    return build_encoder(open_checkpoint(folder, "base"), options, CPU)


def ready(encoder: Encoder, images: Sequence[Path]) -> Inputs:
    if isinstance(encoder, Seq2SeqEncoder):
        targets = ((5, 6, 7, 8), (9, 3), (12,), (13, 14, 5, 13, 39))
        pairs = [Pair(own.source, target) for own, target in zip(encoder.prepare(texts()).items, targets, strict=True)]
        return Inputs(pairs, (1,) * len(pairs), tuple(map(len, targets)))
    return encoder.prepare(pictures(images) if isinstance(encoder, ImageEncoder) else texts())


def run(encoder: Encoder, inputs: Inputs, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    batch = encoder.batch(inputs.items)
    assert batch.rows == inputs.rows
    with torch.no_grad():
        return encoder.features(encoder.module, weights or {}, batch)


def one_by_one(encoder: Encoder, inputs: Inputs, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    alone = [Inputs([item], (1,), (rows,)) for item, rows in zip(inputs.items, inputs.rows, strict=True)]
    return torch.cat([run(encoder, item, weights) for item in alone])


def reference(model: Any, encoder: Any, inputs: Inputs, pooling: str = "mean") -> Tensor:
    """Features by transformers' own forward pass, input by input: hidden states of the model as it is published."""
    found = []
    with torch.no_grad():
        for item in inputs.items:
            if isinstance(encoder, TextEncoder):
                output = model(input_ids=torch.tensor([item]))
                hidden = output.last_hidden_state[0]
                kinds = {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}
                found.append((kinds[pooling] if pooling in kinds else output.pooler_output[0])[None])
            elif isinstance(encoder, CausalEncoder):
                found.append(model(input_ids=torch.tensor([item]), output_hidden_states=True).hidden_states[-1][0, :-1])
            elif isinstance(encoder, Seq2SeqEncoder):
                given = torch.tensor([[model.config.decoder_start_token_id, *item.target[:-1]]])
                source = torch.tensor([item.source])
                hidden = model(input_ids=source, decoder_input_ids=given, output_hidden_states=True)
                scale = 16**-0.5 if model.config.model_type == "t5" else 1.0
                found.append(hidden.decoder_hidden_states[-1][0] * scale)
            else:
                hidden = model(pixel_values=pixels_of(item)).last_hidden_state[0]
                found.append((hidden[0] if pooling == "first" else hidden[-16:].mean(0))[None])
    return torch.cat(found)


def pixels_of(path: Path) -> Tensor:
    """The shortest side 32 by bicubic resizing, the middle 28 x 28, then mean and deviation: by Pillow and by hand."""
    from PIL import Image

    image = Image.open(path)
    short = min(image.size)
    width, height = (int(32 * side / short) if side != short else 32 for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    image = image.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(image.tobytes())).reshape(28, 28, 3).permute(2, 0, 1) / 255
    mean = torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return ((values - mean) / deviation)[None]


def on_disk(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


# Features under the base's weights, padded and not


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_features_are_those_of_transformers(name: str, folders: Any, images: Any) -> None:
    encoder = encoder_of(folders(name))
    inputs = ready(encoder, images)
    expected = reference(made(name), encoder, inputs, "first" if name in VISION else "mean")
    assert expected.shape == (sum(inputs.rows), encoder.width) and expected.std() > 0.01
    torch.testing.assert_close(run(encoder, inputs), expected, **CLOSE)
    torch.testing.assert_close(one_by_one(encoder, inputs), expected, **CLOSE)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "pooler"])
def test_texts_are_pooled_without_their_padding(pooling: str, folders: Any) -> None:
    encoder = encoder_of(folders("bert"), pooling)
    inputs = encoder.prepare(texts())
    torch.testing.assert_close(run(encoder, inputs), reference(made("bert"), encoder, inputs, pooling), **CLOSE)


@pytest.mark.parametrize("name", VISION)
def test_images_are_pooled_over_their_patches(name: str, folders: Any, images: Any) -> None:
    """Class and register tokens do not count; the last 16 tokens are the patches of 28 x 28 pixels."""
    encoder = encoder_of(folders(name), "mean")
    inputs = encoder.prepare(pictures(images))
    torch.testing.assert_close(run(encoder, inputs), reference(made(name), encoder, inputs, "mean"), **CLOSE)


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_images_are_pooled_by_the_model(name: str, folders: Any, images: Any) -> None:
    encoder = encoder_of(folders(name), "pooler")
    with torch.no_grad():
        expected = torch.cat([made(name)(pixel_values=pixels_of(path)).pooler_output for path in images])
    torch.testing.assert_close(run(encoder, encoder.prepare(pictures(images))), expected, **CLOSE)


# Other weights


def tuned(folder: Path, encoder: Encoder, target: Path) -> tuple[Path, dict[str, Tensor]]:
    """Another model in the base's format, every tensor on disk changed, and its weights as learning hands them."""
    generator = torch.Generator().manual_seed(7)
    changed = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) if "bias" not in name else tensor * 1.2
        for name, tensor in on_disk(folder).items()
    }
    target.mkdir()
    safetensors.torch.save_file(changed, target / "model.safetensors", metadata={"format": "pt"})
    for file in folder.glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    return target, {own: changed[name] for name, own in encoder.names.items() if own is not None}


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


# Names on disk


@pytest.mark.parametrize("name", [*TEXT, *CAUSAL, *SEQ2SEQ, *VISION])
def test_names_lead_to_the_parameter_that_holds_the_tensor(name: str, folders: Any) -> None:
    encoder, disk = encoder_of(folders(name)), on_disk(folders(name))
    assert set(encoder.names) == set(disk)
    for stored, own in encoder.names.items():
        if own is not None:
            assert torch.equal(encoder.base(own), disk[stored]), stored


@pytest.mark.parametrize(
    ("name", "headed", "prefix"),
    [("bert", "BertForMaskedLM", "bert."), ("bert", "BertForSequenceClassification", "bert."),
     ("vit", "ViTForImageClassification", "vit."), ("dinov2", "Dinov2ForImageClassification", "dinov2.")],
)  # fmt: skip
def test_a_base_saved_with_a_head(name: str, headed: str, prefix: str, images: Any, tmp_path: Path) -> None:
    import transformers

    _, config, settings = MODELS[name]
    model = getattr(transformers, headed)(getattr(transformers, config)(**settings)).eval()
    model.save_pretrained(tmp_path)
    (save_processor if name in VISION else save_tokenizer)(tmp_path)
    encoder = encoder_of(tmp_path)
    disk = on_disk(tmp_path)
    for stored, own in encoder.names.items():
        assert own is None or (stored.startswith(prefix) and torch.equal(encoder.base(own), disk[stored]))
        used = stored.startswith(prefix) and "pooler" not in stored and "mask_token" not in stored
        assert (own is not None) == used, stored
    inputs = ready(encoder, images)
    inner = getattr(model, prefix[:-1])
    torch.testing.assert_close(
        run(encoder, inputs), reference(inner, encoder, inputs, "first" if name in VISION else "mean"), **CLOSE
    )
    if headed in ("BertForMaskedLM", "ViTForImageClassification"):  # which save no pooler
        with pytest.raises(MismatchError, match="not those that transformers runs") as caught:
            encoder_of(tmp_path, "pooler")
        assert any("pooler.dense.weight" in problem for problem in caught.value.mismatches)


@pytest.mark.parametrize(
    ("name", "bare", "prefix"), [("llama", "model", "model."), ("gpt2", "transformer", "transformer.")]
)
def test_a_language_model_saved_without_its_head(name: str, bare: str, prefix: str, tmp_path: Path) -> None:
    """Names without the prefix, and an output layer only where it is the embedding."""
    model = made(name, tie_word_embeddings=True)
    getattr(model, bare).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = CausalEncoder(tmp_path, open_checkpoint(tmp_path, "base").tensors, max_length=32, device=CPU)
    assert encoder.names and all(own == prefix + stored for stored, own in encoder.names.items())
    inputs = encoder.prepare(texts())
    torch.testing.assert_close(run(encoder, inputs), reference(model, encoder, inputs), **CLOSE)


def test_tensors_of_another_shape_or_model_are_named(folders: Any, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in on_disk(folders("bert")).items() if "layer.1.output" not in name}
    made("bert").save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MismatchError) as caught:
        encoder_of(tmp_path)
    missing = {"dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias"}
    assert len(caught.value.mismatches) == 4
    assert all(any(f"encoder.layer.1.output.{name}" in one for one in caught.value.mismatches) for name in missing)


def test_a_tensor_stored_under_both_of_its_names_counts_once(tmp_path: Path) -> None:
    model = made("gpt2")
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    disk = on_disk(tmp_path)
    safetensors.torch.save_file(
        {**disk, "lm_head.weight": disk["transformer.wte.weight"].clone()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    encoder = encoder_of(tmp_path)
    assert encoder.names["transformer.wte.weight"] == "transformer.wte.weight" == encoder.tied
    assert encoder.names["lm_head.weight"] is None and encoder.output_name is None


def test_tensors_that_loading_puts_together_are_refused(tmp_path: Path) -> None:
    """transformers stacks the experts of a mixture while it loads them: nothing learned could be written back."""
    import transformers

    config = transformers.MixtralConfig(
        **{**SIZES, "vocab_size": 40, "num_key_value_heads": 1, "num_local_experts": 2, **SPECIAL}
    )
    transformers.MixtralForCausalLM(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(MismatchError) as caught:
        encoder_of(tmp_path)
    assert caught.value.mismatches and all("experts" in problem for problem in caught.value.mismatches)


# Language models' output layer


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", [*CAUSAL, *SEQ2SEQ])
def test_features_and_head_make_the_logits(name: str, tied: bool, tmp_path: Path) -> None:
    import transformers

    model = made(name, tie_word_embeddings=tied)
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(tmp_path / "base")
    save_tokenizer(tmp_path / "base")
    encoder = encoder_of(tmp_path / "base")
    assert (encoder.tied is not None) == tied
    assert (encoder.output_name is not None) == (not tied) == (OUTPUT in encoder.names.values())
    inputs = ready(encoder, ())
    other, weights = tuned(tmp_path / "base", encoder, tmp_path / "other")
    for folder, given in ((tmp_path / "base", {}), (other, weights)):
        own = getattr(transformers, MODELS[name][0]).from_pretrained(folder).eval()
        logits = run(encoder, inputs, given) @ encoder.head_weight(given).mT
        torch.testing.assert_close(logits, own_logits(own, encoder, inputs), **CLOSE)


def own_logits(model: Any, encoder: Encoder, inputs: Inputs) -> Tensor:
    found = []
    with torch.no_grad():
        for item in inputs.items:
            if isinstance(encoder, CausalEncoder):
                found.append(model(input_ids=torch.tensor([item])).logits[0, :-1])
            else:
                given = torch.tensor([[model.config.decoder_start_token_id, *item.target[:-1]]])
                found.append(model(input_ids=torch.tensor([item.source]), decoder_input_ids=given).logits[0])
    return torch.cat(found)


def test_an_output_layer_with_a_bias_is_refused(folders: Any, tmp_path: Path) -> None:
    model = made("bart")
    model.final_logits_bias = torch.randn(1, 40)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(DataError, match="adds a bias") as caught:
        encoder_of(tmp_path)
    assert caught.value.tensor == "final_logits_bias"


# Targets of encoder-decoder models


def writer(name: str, folder: Path) -> Any:
    """A model whose output layer is not its embedding, or it repeats what it wrote last."""
    model = made(name, tie_word_embeddings=False)
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    for own, parameter in model.named_parameters():
        # Tokens count for more than places, and directions for more than biases.
        if "shared" in own or "embed_tokens" in own:
            parameter.data *= 4
        if own.endswith("bias"):
            parameter.data *= 0.2
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return encoder_of(folder)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_targets_are_what_the_expert_writes(name: str, tmp_path: Path) -> None:
    import transformers

    encoder = writer(name, tmp_path / "base")
    other, weights = tuned(tmp_path / "base", encoder, tmp_path / "other")
    expert = getattr(transformers, MODELS[name][0]).from_pretrained(other).eval()
    prepared = encoder.prepare(texts())
    written = encoder.continue_with(encoder.module, weights, prepared, new_tokens=7)
    assert written == encoder.continue_with(encoder.module, weights, prepared, new_tokens=7)
    for before, item, size, rows in zip(prepared.items, written.items, written.sizes, written.rows, strict=True):
        assert item.source == before.source
        assert rows == len(item.target) and size == len(item.source) + len(item.target)
        source = torch.tensor([item.source])
        expected = expert.generate(
            input_ids=source, attention_mask=torch.ones_like(source), do_sample=False, num_beams=1, max_new_tokens=7
        )
        assert list(item.target) == expected[0, 1:].tolist()
    assert len({item.target for item in written.items}) > 1


def test_targets_begin_with_the_token_that_names_their_language(tmp_path: Path) -> None:
    import transformers

    encoder = writer("bart", tmp_path)
    inputs = encoder.prepare(texts())
    encoder._first = 5
    forced = encoder.continue_with(encoder.module, {}, inputs, 7)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    for item in forced.items:
        assert item.target[0] == 5
        source = torch.tensor([item.source])
        expected = model.generate(
            input_ids=source, do_sample=False, num_beams=1, max_new_tokens=7, forced_bos_token_id=5
        )
        assert list(item.target) == expected[0, 1:].tolist()


def test_targets_end_with_the_end_token(tmp_path: Path) -> None:
    encoder = writer("t5", tmp_path)
    inputs = encoder.prepare(texts())
    encoder._ends = frozenset()
    free = encoder.continue_with(encoder.module, {}, inputs, 7)
    last = free.items[0].target[1]
    encoder._ends = frozenset([last])
    cut = encoder.continue_with(encoder.module, {}, inputs, 7)
    for before, after in zip(free.items, cut.items, strict=True):
        end = before.target.index(last) + 1 if last in before.target else 7
        assert after.target == before.target[:end]
    lengths = {len(item.target) for item in cut.items}
    assert min(lengths) <= 2 < max(lengths)


def test_an_encoder_decoder_needs_targets(folders: Any) -> None:
    encoder = encoder_of(folders("t5"))
    inputs = encoder.prepare(texts())
    with pytest.raises(DataError, match="nothing to predict") as caught:
        encoder.batch(inputs.items)
    assert caught.value.hint is not None and "continue_with" in caught.value.hint


# Side by side


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


# Plain modules


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.body(values))


def body(module: nn.Module, inputs: Any) -> Tensor:
    assert isinstance(module, Net)
    return module.body(inputs["values"] * inputs["scale"] if isinstance(inputs, dict) else inputs)


def test_a_plain_module_runs_under_any_weights() -> None:
    torch.manual_seed(0)
    net, other = Net().train(), Net().eval()
    encoder = PlainEncoder(net, body, 4)
    data = torch.randn(6, 5)
    inputs = encoder.prepare(data)
    assert (len(inputs), inputs.rows) == (6, (1,) * 6)
    torch.testing.assert_close(run(encoder, inputs), net.eval().body(data).detach())
    torch.testing.assert_close(run(encoder, inputs, dict(other.named_parameters())), other.body(data).detach())
    leaves = {name: weight.detach().requires_grad_() for name, weight in other.named_parameters()}
    encoder.features(encoder.module, leaves, encoder.batch(inputs.items)).sum().backward()
    assert leaves["body.0.weight"].grad is not None and leaves["head.weight"].grad is None
    # Nothing of the user's own module is touched.
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())
    assert encoder.module.get_parameter("body.0.weight").data_ptr() == net.body[0].weight.data_ptr()  # pyright: ignore


def test_plain_inputs_may_be_dictionaries_or_made_on_demand() -> None:
    class Lazy:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {"values": torch.full((5,), float(row)), "scale": torch.tensor([0.5])}

    torch.manual_seed(0)
    encoder = PlainEncoder(Net(), body, 4)
    inputs = encoder.prepare(Lazy())
    batch = encoder.batch([inputs.items[row] for row in (2, 0)])
    assert isinstance(encoder.module, Net)
    expected = encoder.module.body(torch.tensor([[1.0] * 5, [0.0] * 5]))
    torch.testing.assert_close(encoder.features(encoder.module, {}, batch), expected)


def test_a_plain_module_runs_under_names_of_a_file() -> None:
    encoder = PlainEncoder(Net(), body, 4, {"net.first": "body.0.weight", "net.head": None})
    assert encoder.names == {"net.first": "body.0.weight", "net.head": None}
    with pytest.raises(MismatchError, match=r"'body\.0\.weights', did you mean 'body\.0\.weight'\?"):
        PlainEncoder(Net(), body, 4, {"net.first": "body.0.weights"})


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda module, inputs: module(inputs), r"returns \[2, 3\], not a tensor of \[2, 4\]"),
        (lambda module, inputs: module.body(inputs).mean(), r"returns \[\]"),
        (lambda module, inputs: None, "returns a NoneType"),
        (lambda module, inputs: module.body(inputs).detach(), "do not depend on the weights"),
    ],
)
def test_feature_functions_that_do_not_fit(function: Any, said: str) -> None:
    encoder = PlainEncoder(Net(), function, 4)
    leaves = {name: encoder.base(name).clone().requires_grad_() for name in encoder.names}
    batch = encoder.batch(encoder.prepare(torch.randn(2, 5)).items)
    with pytest.raises(DataError, match=said):
        encoder.features(encoder.module, leaves, batch)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (texts(), "cannot read data of type UnlabelledData"),
        ("some text", "cannot read data of type str"),
        ([], "no inputs"),
        (torch.tensor(1.0), "no inputs"),
        (["some", "text"], "input is a str"),
        ([(torch.ones(5), 1)], "input is a tuple"),
        ([torch.ones(5), torch.ones(4)], "cannot be stacked"),
        ([{"values": torch.ones(5)}, {"value": torch.ones(5)}], "different names"),
    ],
)
def test_plain_data_that_do_not_fit(data: Any, said: str) -> None:
    encoder = PlainEncoder(Net(), body, 4)
    with pytest.raises(DataError, match=said):
        encoder.batch(encoder.prepare(data).items)


# Bad input


def test_a_base_without_a_tokenizer(tmp_path: Path) -> None:
    for name in ("bert", "t5", "llama"):
        made(name).save_pretrained(tmp_path / name)
        with pytest.raises(DataError, match="tokenizer") as caught:
            encoder_of(tmp_path / name)
        assert caught.value.file == str(tmp_path / name) and "tokenizer files" in (caught.value.hint or "")


def test_a_folder_without_a_configuration(folders: Any, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folders("bert") / "model.safetensors").read_bytes())
    save_tokenizer(tmp_path)
    with pytest.raises(DataError, match=r"config\.json") as caught:
        encoder_of(tmp_path)
    assert "kind" in (caught.value.hint or "")
    with pytest.raises(DataError, match=r"transformers cannot build") as caught:
        TextEncoder(tmp_path, open_checkpoint(tmp_path, "b").tensors, pooling="mean", max_length=9, device=CPU)
    assert caught.value.file == str(tmp_path)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_images_are_not_read_as_texts(name: str, folders: Any, images: Any) -> None:
    with pytest.raises(DataError, match="reads texts, and the data are images"):
        encoder_of(folders(name)).prepare(pictures(images))


def test_texts_are_not_read_as_images(folders: Any) -> None:
    with pytest.raises(DataError, match="reads images, and the data are texts"):
        encoder_of(folders("vit")).prepare(texts())


def test_a_vision_model_without_its_processor(tmp_path: Path) -> None:
    made("vit").save_pretrained(tmp_path)
    with pytest.raises(DataError, match="image processor cannot be loaded") as caught:
        encoder_of(tmp_path)
    assert "preprocessor_config.json" in (caught.value.hint or "")


def test_a_processor_of_another_size(folders: Any, tmp_path: Path) -> None:
    made("vit").save_pretrained(tmp_path)
    save_processor(tmp_path)
    place = tmp_path / "preprocessor_config.json"
    settings = json.loads(place.read_text())
    place.write_text(json.dumps({**settings, "crop_size": {"height": 21, "width": 21}}))
    with pytest.raises(DataError, match="does not run on images of 21 x 21 pixels") as caught:
        encoder_of(tmp_path)
    assert "preprocessor_config.json" in (caught.value.hint or "")
    place.write_text(json.dumps({**settings, "do_center_crop": False}))
    with pytest.raises(DataError, match="does not run on images of"):
        encoder_of(tmp_path)


@pytest.mark.parametrize("pooling", ["last", "pooler"])
def test_poolings_that_a_vision_model_does_not_have(pooling: str, tmp_path: Path) -> None:
    import transformers

    _, config, settings = MODELS["vit"]
    settings = getattr(transformers, config)(**settings)
    transformers.ViTModel(settings, add_pooling_layer=False).save_pretrained(tmp_path)
    save_processor(tmp_path)
    with pytest.raises((DataError, MismatchError), match="pool"):
        encoder_of(tmp_path, pooling)


def test_a_damaged_image_is_named(folders: Any, images: Any, tmp_path: Path) -> None:
    encoder = encoder_of(folders("vit"))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(images[0].read_bytes()[:200])
    # Paths alone are kept; the file is decoded with its batch.
    inputs = encoder.prepare(pictures([images[0], damaged]))
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        encoder.batch(inputs.items)
    assert caught.value.file == str(damaged)
