"""Estimates of Fisher information against slow loops over inputs and labels, with the live model of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.activations.run import read_data
from mergeometry.fisher.collect import Fishers, collect_fishers
from mergeometry.sources import TensorReader
from tests.helpers import encoder_models, learning_models


def collected(recipe: Mapping[str, Any], folder: Path) -> tuple[mg.Plan, Fishers]:
    folder.mkdir()
    plan = mg.make_plan(recipe)
    section = plan.recipe.data
    assert section is not None
    return plan, collect_fishers(plan, section, read_data(plan, section), folder)


def of_model(fishers: Fishers, place: int) -> dict[str, Tensor]:
    with TensorReader() as reader:
        return {name: reader.read(info) for name, infos in fishers.stored.items() if (info := infos[place])}


def squares(model: Any, likelihoods: Sequence[tuple[float, Tensor]]) -> dict[str, Tensor]:
    """The sum of squared gradients of log-likelihoods, each times its share, by the parameter's name."""
    named = dict(model.named_parameters())
    totals = {name: torch.zeros_like(parameter, dtype=torch.float64) for name, parameter in named.items()}
    for share, likelihood in likelihoods:
        gradients = torch.autograd.grad(likelihood, list(named.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                totals[name] += share * gradient.detach().double() ** 2
    return totals


def by_every_class(model: Any, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The paper's expectation: over inputs, and over each one's classes by their probabilities."""
    totals: dict[str, Tensor] = {}
    for one in inputs:
        scores = model(**one).logits[0].log_softmax(-1)
        shares = [float(score.detach().exp()) for score in scores]
        for name, value in squares(model, list(zip(shares, scores, strict=True))).items():
            totals[name] = totals.get(name, 0) + value / len(inputs)
    return totals


def expect_same(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    # A gradient that is zero but for rounding, as of a key's bias, has no size to compare with.
    rounding = 1e-9 * max(float(value.max()) for value in expected.values())
    for name, parameter in names.items():
        value = expected[parameter].float()
        atol = max(rounding, 1e-5 * float(value.max()))
        torch.testing.assert_close(
            got[name], value, rtol=2e-3, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_text_classifiers_that_share_their_head(tmp_path: Path) -> None:
    """Embeddings, norms, biases, the pooler and the head itself; the head is found in the models' own folders."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    from tests.helpers import models

    base = models.tiny_bert("BertForSequenceClassification", max_position_embeddings=32, num_labels=3)
    learning_models.save_base(base, tmp_path / "base")
    entries = [str(learning_models.save_tuned(base, tmp_path / f"task{number}", number)) for number in range(2)]
    texts = [learning_models.texts_of(number, 5) for number in range(2)]
    tasks = {
        f"task{number}": str(learning_models.save_texts(tmp_path / f"{number}.jsonl", texts[number]))
        for number in range(2)
    }
    recipe = {"base": str(tmp_path / "base"), "models": entries, "method": "fisher", "data": {"tasks": tasks}}
    _, fishers = collected(recipe, tmp_path / "fishers")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    for place, entry in enumerate(entries):
        model = BertForSequenceClassification.from_pretrained(entry, attn_implementation="eager").eval()
        expected = by_every_class(model, [tokenizer(text, return_tensors="pt") for text in texts[place]])
        got = of_model(fishers, place)
        assert got.keys() == expected.keys()
        expect_same(got, expected, {name: name for name in got})
        norm = sum(float(value.double().square().sum()) for value in got.values()) ** 0.5
        assert fishers.models[f"task{place}"].norm == pytest.approx(norm)


def test_image_classifiers_with_heads_of_their_own(tmp_path: Path) -> None:
    """Patches, the class token and positions; the heads differ in classes, and are not merged."""
    import numpy
    from PIL import Image
    from transformers import ViTConfig, ViTForImageClassification

    base = encoder_models.made("vit")
    base.save_pretrained(tmp_path / "base")
    encoder_models.save_processor(tmp_path / "base")
    entries, tasks = [], {}
    for number in range(2):
        torch.manual_seed(number)
        settings = encoder_models.MODELS["vit"][2]
        model = ViTForImageClassification(ViTConfig(**settings, num_labels=2 + number)).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / f"task{number}")
        entries.append(str(tmp_path / f"task{number}"))
        (tmp_path / f"images{number}").mkdir()
        for place in range(3):
            pixels = numpy.random.default_rng(10 * number + place).integers(0, 255, (40, 36, 3), dtype=numpy.uint8)
            Image.fromarray(pixels).save(tmp_path / f"images{number}" / f"{place}.png")
        tasks[f"task{number}"] = str(tmp_path / f"images{number}")
    recipe = {
        "base": str(tmp_path / "base"), "models": entries, "method": "fisher", "data": {"tasks": tasks},
        "heads": ["classifier.*", "pooler.*"],
    }  # fmt: skip
    _, fishers = collected(recipe, tmp_path / "fishers")
    encoder = encoder_models.encoder_of(tmp_path / "base")
    for place, entry in enumerate(entries):
        model = ViTForImageClassification.from_pretrained(entry, attn_implementation="eager").eval()
        files = sorted((tmp_path / f"images{place}").iterdir())
        pixels = [{"pixel_values": encoder_models.pixels_of(file)} for file in files]
        expected, got = by_every_class(model, pixels), of_model(fishers, place)
        names = {name: f"vit.{encoder.names[name]}" for name in got}
        assert set(names.values()) == {name for name in expected if not name.startswith("classifier")}
        expect_same(got, expected, names)


@pytest.mark.parametrize("name", ["gpt2", pytest.param("llama", marks=pytest.mark.suite)])
def test_labels_drawn_for_every_token_have_the_expectation_over_the_vocabulary(tmp_path: Path, name: str) -> None:
    """Of causal language models, with an output layer that is tied to the embedding and one that is not."""
    from transformers import AutoModelForCausalLM

    base = encoder_models.made(name)
    learning_models.save_base(base, tmp_path / "base")
    entry = str(learning_models.save_tuned(base, tmp_path / "task0", 0))
    texts = ["w1 w2 w3", "w4 w5"]
    data = {"tasks": {"task0": str(learning_models.save_texts(tmp_path / "0.jsonl", texts))}, "labels": 100}
    recipe = {"base": str(tmp_path / "base"), "models": [entry], "method": "fisher", "data": data}
    _, fishers = collected(recipe, tmp_path / "fishers")
    model = AutoModelForCausalLM.from_pretrained(entry, attn_implementation="eager").eval()
    likelihoods = []
    for text in texts:
        numbers = torch.tensor([[4 + int(word[1:]) for word in text.split()]])
        for scores in model(input_ids=numbers).logits[0, :-1].log_softmax(-1):
            likelihoods += [(float(score.detach().exp()) / len(texts), score) for score in scores]
    expected, got = squares(model, likelihoods), of_model(fishers, 0)
    assert got.keys() >= expected.keys()
    error = sum(float((got[key].double() - value).square().sum()) for key, value in expected.items()) ** 0.5
    assert error < 0.3 * fishers.models["task0"].norm
    for key, value in expected.items():
        # A gradient that is zero but for rounding, as of a key's bias, has no size to compare with.
        if float(value.sum()) > 1e-9:
            assert float(got[key].double().sum()) == pytest.approx(float(value.sum()), rel=0.4), key


def test_sequence_to_sequence_models_predict_what_they_write(tmp_path: Path) -> None:
    base = encoder_models.made("t5")
    learning_models.save_base(base, tmp_path / "base")
    entries = [str(learning_models.save_tuned(base, tmp_path / f"task{number}", number)) for number in range(2)]
    path = str(learning_models.save_texts(tmp_path / "texts.jsonl", learning_models.texts_of(0, 3)))
    recipe = {
        "base": str(tmp_path / "base"), "models": entries, "method": "fisher",
        "data": {"tasks": {"task0": path, "task1": path}},
    }  # fmt: skip
    _, fishers = collected(recipe, tmp_path / "fishers")
    again, same = collected({**recipe, "seed": 0}, tmp_path / "again")
    other, differs = collected({**recipe, "seed": 1}, tmp_path / "other")
    del again, other
    assert fishers.models == same.models != differs.models
    got = of_model(fishers, 0)
    assert all(float(got[name].sum()) > 0 for name in got if "encoder" in name or "decoder" in name)
