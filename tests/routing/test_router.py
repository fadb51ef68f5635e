"""A router names the task of an input by the merged model's own hidden states, whatever adapter is switched on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import DataError, NumericalError, OutputError, SourceError
from mergeometry.routing.discriminant import SHRINKAGE, discriminant
from tests.helpers import models as files
from tests.helpers.peft_models import tiny_llama
from tests.helpers.tiny import moved

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")


def batch(task: int, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Inputs of one of two tasks, which share a quarter of their tokens, padded to different lengths."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5 + 15 * task, 25 + 15 * task, (count, 12), generator=drawn)
    lengths = torch.randint(6, 13, (count, 1), generator=drawn)
    mask = (torch.arange(12) < lengths).long()
    return {"input_ids": tokens * mask, "attention_mask": mask}


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fine-tunes of a tiny BERT merged, each with a residual."""
    place = tmp_path_factory.mktemp("routed")
    torch.manual_seed(0)
    base = files.tiny_bert()
    base.save_pretrained(place / "base")
    for seed in (1, 2):
        moved(copy.deepcopy(base), seed).save_pretrained(place / f"tuned-{seed}")
    models = [{"path": str(place / f"tuned-{seed}"), "name": f"task {seed}"} for seed in (1, 2)]
    recipe = {"base": str(place / "base"), "models": models, "method": "tsv_m", "output": {"residuals": {"keep": 0.9}}}
    mg.merge(recipe, place / "merged", workers=1)
    return place / "merged"


def served(folder: Path) -> Any:
    """The merged model with its residuals as a user loads them, the second switched on."""
    places = json.loads((folder / "mergeometry.json").read_text())["residuals"]
    model: Any = transformers.AutoModel.from_pretrained(folder)
    wrapped = peft.PeftModel.from_pretrained(model, folder / places["task 1"]["folder"], adapter_name="one")
    wrapped.load_adapter(folder / places["task 2"]["folder"], "two")
    wrapped.set_adapter("two")
    return wrapped


def test_a_router_fitted_to_a_few_inputs_names_the_tasks_of_others(merged: Path) -> None:
    model = served(merged)
    model.train()
    router = mg.fit_router(model, {"task 1": batch(0, 32, 0), "task 2": batch(1, 32, 1)})
    for task, name in enumerate(router.tasks):
        named = router.route(model, batch(task, 60, 10 + task))
        assert named.count(name) >= 42, named  # of 60, where guessing names 30
    assert model.training and model.active_adapter == "two"  # as they were


def test_what_it_sees_is_the_merged_model_whatever_adapter_is_on(merged: Path) -> None:
    model, plain = served(merged).eval(), transformers.AutoModel.from_pretrained(merged).eval()
    inputs = {"task 1": batch(0, 8, 0), "task 2": batch(1, 8, 1)}
    router, alone = mg.fit_router(model, inputs), mg.fit_router(plain, inputs)
    torch.testing.assert_close(router.weight, alone.weight)
    given = batch(0, 5, 3)
    state = plain(**given, output_hidden_states=True).hidden_states[plain.config.num_hidden_layers // 2].detach()
    means = torch.stack(
        [row[: int(mask.sum())].mean(dim=0) for row, mask in zip(state, given["attention_mask"], strict=True)]
    )
    expected = torch.softmax(means @ alone.weight.T + alone.bias, dim=1)
    torch.testing.assert_close(router.scores(model, given), expected, rtol=1e-4, atol=1e-5)


def test_adapters_that_transformers_loads_itself_are_off_too(merged: Path, tmp_path: Path) -> None:
    model: Any = transformers.AutoModel.from_pretrained(merged)
    inputs = {"task 1": batch(0, 8, 0), "task 2": batch(1, 8, 1)}
    plain = mg.fit_router(model, inputs)
    settings = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    wrapped: Any = peft.get_peft_model(copy.deepcopy(model), settings)
    wrapped.save_pretrained(tmp_path)
    model.load_adapter(str(tmp_path))
    changed = model(**batch(0, 8, 0)).last_hidden_state
    torch.testing.assert_close(mg.fit_router(model, inputs).weight, plain.weight)
    torch.testing.assert_close(model(**batch(0, 8, 0)).last_hidden_state, changed)  # switched on again
    model.disable_adapters()
    unchanged = model(**batch(0, 8, 0)).last_hidden_state
    mg.fit_router(model, inputs)
    torch.testing.assert_close(model(**batch(0, 8, 0)).last_hidden_state, unchanged)
    assert (changed - unchanged).abs().max() > 1e-3


def test_scores_are_the_log_densities_of_groups_with_one_shrunk_covariance() -> None:
    torch.manual_seed(0)
    groups = [torch.randn(count, 6) @ torch.randn(6, 6) + 3 * torch.randn(6) for count in (9, 5, 7)]
    weight, bias = discriminant(groups)
    means = [group.double().mean(dim=0) for group in groups]
    covariance = torch.zeros(6, 6, dtype=torch.float64)
    for group, mean in zip(groups, means, strict=True):
        for row in group.double():
            covariance += torch.outer(row - mean, row - mean) / (21 - 3)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.trace() / 6 * torch.eye(6)
    point = torch.randn(6, dtype=torch.float64)
    log_densities = torch.stack(
        [torch.distributions.MultivariateNormal(mean, covariance).log_prob(point) for mean in means]
    )
    scores = point @ weight.T + bias
    torch.testing.assert_close(scores - scores[0], log_densities - log_densities[0])


def test_groups_of_equal_examples_are_told_apart_by_their_distance() -> None:
    weight, bias = discriminant([torch.zeros(3, 2), torch.ones(3, 2)])
    assert ((torch.tensor([[0.2, 0.1], [0.9, 0.8]]).double() @ weight.T + bias).argmax(dim=1) == torch.arange(2)).all()


def test_an_input_of_which_a_router_is_not_sure_has_no_task(merged: Path) -> None:
    model = transformers.AutoModel.from_pretrained(merged)
    router = mg.fit_router(model, {"task 1": batch(0, 32, 0), "task 2": batch(1, 32, 1)})
    given = batch(0, 40, 5)
    most = router.scores(model, given).amax(dim=1)
    level = float(most.median())
    named = router.route_if_sure(model, given, at_least=level)
    assert named.count(None) == int((most < level).sum()) > 0
    assert all(name in (None, other) for name, other in zip(named, router.route(model, given), strict=True))
    assert router.route_if_sure(model, given, at_least=0) == router.route(model, given)
    with pytest.raises(ValueError, match="between 0 and 1"):
        router.route_if_sure(model, given, at_least=80)


def test_a_saved_router_is_the_same_and_replaces_nothing_but_a_router(merged: Path, tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(merged)
    router = mg.fit_router(model, {"/a \N{SKULL}": batch(0, 8, 0), "b": batch(1, 8, 1)})
    router.save(tmp_path / "router.safetensors")
    router.save(tmp_path / "router.safetensors")
    again = mg.Router.load(tmp_path / "router.safetensors")
    assert (again.tasks, again.layer) == (router.tasks, router.layer) == (("/a \N{SKULL}", "b"), 1)
    assert torch.equal(again.weight, router.weight) and torch.equal(again.bias, router.bias)
    assert again.held_out == router.held_out is not None
    assert [path.name for path in tmp_path.iterdir()] == ["router.safetensors"]
    with pytest.raises(OutputError, match="another file"):
        router.save(merged / "config.json")
    with pytest.raises(OutputError, match="does not exist"):
        router.save(tmp_path / "none" / "router.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "x"}, {"tasks": "["}, {"tasks": '["a"]'}, {"tasks": "[1, 2]"}, {"tasks": '["a", "a"]'},
        {"layer": "-1"}, {"layer": "1" * 5000}, {"layer": "\N{ARABIC-INDIC DIGIT THREE}"},
    ],
)  # fmt: skip
def test_a_file_that_is_no_router_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    place = tmp_path / "file.safetensors"
    good = {"kind": "mergeometry router", "tasks": '["a", "b"]', "layer": "1"}
    tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    safetensors.torch.save_file(tensors, place, good)
    assert mg.Router.load(place).tasks == ("a", "b")
    safetensors.torch.save_file(tensors, place, {**good, **change})
    with pytest.raises(SourceError, match="not a router"):
        mg.Router.load(place)
    safetensors.torch.save_file({**tensors, "weight": torch.ones(2, 3, dtype=torch.complex64)}, place, good)
    with pytest.raises(SourceError, match="not a router"):
        mg.Router.load(place)


def test_a_router_of_another_model_or_of_no_numbers_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file.safetensors"
    metadata = {"kind": "mergeometry router", "tasks": '["a", "b"]', "layer": "1"}
    safetensors.torch.save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, place, metadata)
    with pytest.raises(DataError, match="features of 3 numbers, and the model gives 16"):
        mg.Router.load(place).route(files.tiny_bert(), batch(0, 2, 0))
    safetensors.torch.save_file({"weight": torch.ones(2, 3), "bias": torch.tensor([0, torch.nan])}, place, metadata)
    with pytest.raises(SourceError, match="NaN or Inf"):
        mg.Router.load(place)


def test_what_a_router_cannot_be_fitted_to_is_refused(merged: Path) -> None:
    model = transformers.AutoModel.from_pretrained(merged)
    one, two = batch(0, 4, 0), batch(1, 4, 1)
    with pytest.raises(DataError, match="two tasks or more"):
        mg.fit_router(model, {"a": one})
    with pytest.raises(DataError, match="b: there are no inputs"):
        mg.fit_router(model, {"a": one, "b": {name: value[:0] for name, value in two.items()}})
    for layer in (9, -1):  # one counted from the end could not be read back
        with pytest.raises(DataError, match=f"no hidden state {layer} "):
            mg.fit_router(model, {"a": one, "b": two}, layer=layer)
    wrong: list[Any] = [["w1 w2"], {}, {"input_ids": [[1, 2]]}]
    for given in wrong:
        with pytest.raises(DataError, match="not what a tokenizer"):
            mg.fit_router(model, {"a": given, "b": two})
    router = mg.fit_router(model, {"a": one, "b": two})
    with pytest.raises(DataError, match="holds no input"):
        router.route(model, {name: value[:0] for name, value in two.items()})
    with pytest.raises(DataError, match="how many layers"):
        mg.fit_router(torch.nn.Linear(2, 2), {"a": one, "b": two})
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7] = torch.nan
    with pytest.raises(NumericalError, match="a: the hidden states"):
        mg.fit_router(model, {"a": {"input_ids": torch.full((2, 3), 7)}, "b": two})
    with pytest.raises(NumericalError, match="NaN or Inf"):
        router.route(model, {"input_ids": torch.full((2, 3), 7)})


def test_language_models_encoder_decoders_and_image_models_are_routed() -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    image = transformers.ViTModel(transformers.ViTConfig(**small, image_size=16, patch_size=8))
    t5 = transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=64)
    )
    for model in (tiny_llama(), t5):
        few, many, others = (batch(task, 16 + 4 * task, seed) for task, seed in ((0, 0), (1, 1), (1, 2)))
        for one in (few, many, others):
            one["input_ids"] %= model.config.vocab_size
        assert mg.fit_router(model, {"a": few, "b": many}).route(model, others).count("b") > 12
    dark, light = ({"pixel_values": torch.rand(6, 3, 16, 16) + shift} for shift in (-1.0, 1.0))
    router = mg.fit_router(image, {"dark": dark, "light": light})
    assert router.route(image, {"pixel_values": torch.rand(3, 3, 16, 16) + 1.0}) == ["light"] * 3
