"""Models in memory merge to the bytes that a merge of the same files writes, and nothing of them is lost."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

import mergeometry as mg
from mergeometry.errors import MismatchError, NumericalError, RecipeError, SourceError
from tests.helpers import models


def tuned(module: nn.Module, seed: int) -> Any:
    """A copy with every parameter moved a little."""
    generator, other = torch.Generator().manual_seed(seed), copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return other


@pytest.fixture(scope="module")
def gpt2() -> list[GPT2LMHeadModel]:
    """A base and two fine-tunes whose matrices are stored transposed and whose tables are tied."""
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=24, n_head=2, vocab_size=40, n_positions=8, bos_token_id=0, eos_token_id=0)
    base = GPT2LMHeadModel(config).eval()
    return [base, tuned(base, 1), tuned(base, 2)]


@pytest.fixture(scope="module")
def folders(gpt2: list[GPT2LMHeadModel], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("gpt2")
    names = ["base", "model0", "model1"]
    for name, model in zip(names, gpt2, strict=True):
        model.save_pretrained(place / name)
    return [place / name for name in names]


@pytest.mark.parametrize("scale", [0.7, "auto", {"rule": "projection", "per": "model"}], ids=["0.7", "auto", "model"])
@pytest.mark.parametrize(
    "method",
    [mg.methods.TSVM(rank=4), "ties", {"name": "dare", "density": 0.3}, mg.methods.Slerp(t=0.3), "average", "rows"],
    ids=str,
)
def test_modules_merge_to_the_bytes_of_their_files(
    gpt2: list[GPT2LMHeadModel], folders: list[Path], tmp_path: Path, method: Any, scale: Any
) -> None:
    base, *others = gpt2
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in gpt2]
    merged = mg.merge_modules(base, others, method, weights=[1.0, 0.5], scale=scale, seed=3)
    entries = [{"path": path, "weight": weight} for path, weight in zip(folders[1:], [1.0, 0.5], strict=True)]
    mg.merge(base=folders[0], models=entries, method=method, scale=scale, seed=3, output=tmp_path / "out", workers=1)
    live = GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(merged(tokens).logits, live(tokens).logits)
    assert merged.lm_head.weight is merged.transformer.wte.weight
    for model, state in zip(gpt2, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_state_dicts_by_name_draw_as_their_files_do(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    base, *others = (models.loaded(Path(path)) for path in (family["base"], *family["models"]))
    names = [Path(path).name for path in family["models"]]
    merged = mg.merge_state_dicts(base, dict(zip(names, others, strict=True)), mg.methods.DareTies(density=0.5))
    mg.merge({**family, "method": {"name": "dare_ties", "density": 0.5}}, tmp_path / "out", workers=1)
    written = models.loaded(tmp_path / "out")
    assert list(merged) == list(base)
    assert all(torch.equal(tensor, written[name]) for name, tensor in merged.items())


def test_an_embedding_is_no_linear_map_whatever_its_name() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(12, 6), nn.Linear(6, 4)

    torch.manual_seed(0)
    base = Tagger()
    others = [tuned(base, 1), tuned(base, 2)]
    merged = mg.merge_modules(base, others, "tsv_m")
    mean = torch.stack([other.words.weight for other in others]).mean(0)
    torch.testing.assert_close(merged.words.weight, mean)
    assert not torch.allclose(merged.out.weight, torch.stack([other.out.weight for other in others]).mean(0))
    by_name = mg.merge_state_dicts(base.state_dict(), [other.state_dict() for other in others], "tsv_m")
    assert not torch.allclose(by_name["words.weight"], mean), "a state dict has names alone"


def test_a_bfloat16_module_keeps_its_dtype_and_its_buffers() -> None:
    torch.manual_seed(0)
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, vocab_size=30)
    base = BertModel(config).to(torch.bfloat16)
    merged = mg.merge_modules(base, [tuned(base, 1), tuned(base, 2)], "task_arithmetic", scale=0.5)
    assert {tensor.dtype for tensor in merged.parameters()} == {torch.bfloat16}
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(8, 3))
    assert int(mg.merge_modules(norm, [copy.deepcopy(norm)] * 2, "average").state_dict()["num_batches_tracked"]) == 1


def test_ties_that_a_model_breaks(gpt2: list[GPT2LMHeadModel]) -> None:
    base, first, second = gpt2
    states = [model.state_dict() for model in (first, second)]
    states[1] = {**states[1], "lm_head.weight": states[1]["lm_head.weight"] + 1}
    merged = mg.merge_state_dicts(base.state_dict(), states, "average", config=base.config.to_dict())
    torch.testing.assert_close(merged["lm_head.weight"], merged["transformer.wte.weight"] + 0.5)
    untied = copy.deepcopy(second)
    untied.lm_head.weight = nn.Parameter(untied.lm_head.weight + 1)
    with pytest.raises(MismatchError, match="the base ties weights that the models have apart") as caught:
        mg.merge_modules(base, [first, untied], "average")
    assert "'transformer.wte.weight' and 'lm_head.weight'" in str(caught.value)


def state(**tensors: Any) -> dict[str, Any]:
    return {"a.weight": torch.ones(3, 2), **tensors}


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ({}, MismatchError, "model0: has no tensor 'a.weight'"),
        (state(b=torch.ones(1)), MismatchError, "model0: holds 'b', which the base does not have"),
        (state(**{"a.weight": torch.ones(2, 3)}), MismatchError, r"has shape \[2, 3\], the base \[3, 2\]"),
        (state(**{"a.weight": torch.full((3, 2), torch.nan)}), NumericalError, "6 of 6 values are NaN or infinite"),
        (state(**{"a.weight": [1.0]}), SourceError, "a list stands where a tensor should"),
        (state(**{"a.weight": torch.ones(3, 2, device="meta")}), SourceError, "on the meta device"),
        (state(**{"a.weight": torch.ones(3, 2).to_sparse()}), SourceError, "sparse_coo cannot be merged"),
        (state(**{"a.weight": torch.ones(3, 2, dtype=torch.complex128)}), SourceError, "complex128 cannot be merged"),
        (state(**{"a.weight": torch.ones(3, 2).half()}), MismatchError, "is F16, the base's F32"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mg.merge_state_dicts(state(), [model, state()], "average")


def test_settings_are_a_recipes() -> None:
    models_ = [state(), state(head=torch.ones(2))]
    merged = mg.merge_state_dicts(state(), models_, "average", heads=["head"], dtype="float64")
    assert list(merged) == ["a.weight"] and merged["a.weight"].dtype == torch.float64
    with pytest.raises(RecipeError, match="expected one weight per model, 2 in all, got 1"):
        mg.merge_state_dicts(state(), [state(), state()], "average", weights=[1.0])
    with pytest.raises(RecipeError, match="there is no method 'tsvm'"):
        mg.merge_state_dicts(state(), [state()], "tsvm")


def test_a_merge_reports_each_tensor() -> None:
    seen: list[str] = []
    mg.merge_state_dicts(state(), [state(), state()], "ties", progress=lambda task: seen.append(task.name))
    assert seen == ["a.weight"]


def test_keyword_arguments_stand_for_a_recipe_or_change_one(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    recipe = mg.load_recipe({**family, "method": "average", "heads": []})
    plan = mg.make_plan(recipe, method=mg.methods.Ties(density=0.4), scale=0.5, dtype="float64")
    assert plan.recipe.method.given == mg.methods.Ties(density=0.4).described() and plan.recipe.scale == 0.5
    assert plan.recipe.output.dtype == "float64"
    assert mg.make_plan(base=family["base"], models=family["models"], method="average").recipe == mg.load_recipe(
        {**family, "method": "average"}
    )
    with pytest.raises(RecipeError, match="there is no recipe"):
        mg.make_plan()
    with pytest.raises(RecipeError, match="`output` says where to write"):
        mg.merge(recipe)
    with pytest.raises(RecipeError, match="unknown key 'metod', did you mean 'method'"):
        mg.make_plan(recipe, metod="ties")  # type: ignore[call-arg]


def test_values_say_in_a_line_what_they_are(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    recipe = mg.load_recipe({**family, "method": mg.methods.Ties(density=0.4)})
    assert repr(recipe).startswith("Recipe(base='") and "density" in repr(recipe) and "seed" not in repr(recipe)
    assert repr(mg.make_plan(recipe)).startswith("Plan(2 models onto ")
    record = mg.merge(recipe, tmp_path / "out", workers=1)
    assert repr(record).startswith("RunRecord(") and len(repr(record)) < 160


def test_a_class_of_nobody_is_no_part_of_a_recipe() -> None:
    class Mine(mg.methods.Average):
        """Not registered."""

    with pytest.raises(RecipeError, match="no recipe can name the method Mine: it is not registered"):
        mg.load_recipe({"base": "b", "models": ["a"], "method": Mine()})
