"""Heads that only fine-tunes have: named by `heads: auto` where they are plain, or else by the error to paste."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError
from mergeometry.recipe.yaml import parse_yaml
from tests.helpers import models
from tests.helpers.commands import invoke

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40}
FAMILIES = {
    "bert": ("BertConfig", SIZES, "BertModel", "BertForSequenceClassification", "bert", ["classifier.*"]),
    "distilbert": (
        "DistilBertConfig", DISTIL, "DistilBertModel", "DistilBertForSequenceClassification", "distilbert",
        ["classifier.*", "pre_classifier.*"],
    ),
    "llama": (
        "LlamaConfig", {**SIZES, "pad_token_id": 0}, "LlamaModel", "LlamaForSequenceClassification", "model",
        ["score.*"],
    ),
}  # fmt: skip
IDS = torch.arange(1, 9).reshape(1, 8)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def live_family(folder: Path, kind: str) -> tuple[dict[str, Any], list[Any], list[str]]:
    """A base without a head and two live fine-tunes with one, of 2 and 3 classes, saved by transformers."""
    config, sizes, encoder, classifier, body, heads = FAMILIES[kind]
    torch.manual_seed(0)
    base = getattr(transformers, encoder)(getattr(transformers, config)(**sizes))
    base.save_pretrained(folder / "base")
    live = []
    for number in range(2):
        model = getattr(transformers, classifier)(getattr(transformers, config)(**sizes, num_labels=2 + number))
        moved = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in base.state_dict().items()}
        getattr(model, body).load_state_dict(moved)
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{body}."):
                parameter.data += torch.randn_like(parameter)  # fresh heads are so small that all logits are alike
        model.save_pretrained(folder / f"task{number}")
        live.append(model)
    return {"base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in range(2)]}, live, heads


@pytest.mark.parametrize("kind", FAMILIES)
def test_plain_heads_are_kept_and_predict_as_the_live_models_do(tmp_path: Path, kind: str) -> None:
    recipe, live, globs = live_family(tmp_path, kind)
    *_, encoder, classifier, body, _ = FAMILIES[kind]
    for weights in ((1, 0), (0, 1), (0.5, 0.5)):
        out = tmp_path / f"out{weights[0]}"
        entries = [{"path": path, "weight": weight} for path, weight in zip(recipe["models"], weights, strict=True)]
        given = {**recipe, "models": entries, "method": "task_arithmetic", "other": "task_arithmetic"}
        run = mg.merge({**given, "heads": "auto"}, out, workers=1)
        assert run.recipe["heads"] == globs
        assert any("heads: " in note and "only the fine-tunes have" in note for note in run.warnings)
        assert run.digest == mg.merge({**given, "heads": globs}, tmp_path / f"named{weights[0]}", workers=1).digest
        merged, info = getattr(transformers, encoder).from_pretrained(out, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        for number, weight in enumerate(weights):
            # The saved head on the merged encoder, in a model that has neither of the live one's tensors.
            rebuilt = getattr(transformers, classifier)(live[number].config)
            getattr(rebuilt, body).load_state_dict(merged.state_dict())
            head = models.loaded(out / "heads", f"task{number}")
            loaded = rebuilt.load_state_dict(head, strict=False)
            assert not loaded.unexpected_keys and all(name.startswith(f"{body}.") for name in loaded.missing_keys)
            if weight == 1:
                assert torch.allclose(logits(rebuilt), logits(live[number]), atol=1e-5)
            else:
                whole = getattr(transformers, classifier).from_pretrained(recipe["models"][number])
                getattr(whole, body).load_state_dict(merged.state_dict())
                assert torch.allclose(logits(rebuilt), logits(whole), atol=1e-6)
                assert not torch.allclose(logits(rebuilt), logits(live[number]), atol=1e-3)


def refused(recipe: dict[str, Any]) -> str:
    with pytest.raises(MismatchError) as caught:
        mg.make_plan({**recipe, "method": "average"})
    return str(caught.value)


def cure(text: str) -> tuple[list[str], list[str]]:
    """The line of a recipe and the flags that an error says to paste."""
    found = re.search(r"`(heads: \[.*?\])`, or ((?:--head '[^']*' ?)+)", text)
    assert found, text
    return parse_yaml(found[1])["heads"], shlex.split(found[2])


def test_without_auto_the_error_names_the_key_and_the_flag(tmp_path: Path) -> None:
    recipe, _, globs = live_family(tmp_path, "distilbert")
    line, flags = cure(refused(recipe))
    assert line == globs and flags == [word for glob in globs for word in ("--head", glob)]
    mg.make_plan({**recipe, "method": "average", "heads": line})
    words = ["--base", recipe["base"], *(word for path in recipe["models"] for word in ("--model", path))]
    assert invoke("plan", *words, "--method", "average", *flags).exit_code == 0
    assert invoke("plan", *words, "--method", "average", "--head", "auto").exit_code == 0
    assert invoke("plan", *words, "--method", "average").exit_code == 1
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({**recipe, "method": "average", "heads": ["classifier.*"]}))
    line, flags = cure(invoke("plan", file).output)
    assert line == globs, "the heads that the recipe names already are in the line to paste"
    assert invoke("plan", file, *flags).exit_code == 0


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Any]:
    """A toy, whose fine-tunes have a plain head."""
    family = models.write_family(tmp_path, count=2)
    for place in family["models"]:
        extend(place, {"classifier.weight": torch.zeros(2, 6), "classifier.bias": torch.zeros(2)})
    return {**family, "heads": "auto"}


def extend(place: str | Path, tensors: models.Tensors, **settings: Any) -> None:
    models.write_model(Path(place), {**models.loaded(Path(place)), **tensors}, settings or None)


def test_the_toys_head_is_plain(family: dict[str, Any]) -> None:
    plan = mg.make_plan({**family, "method": "average"})
    assert plan.recipe.heads == ("classifier.*",)
    assert plan.notes == ("heads: classifier.*, which only the fine-tunes have; kept per model, not merged",)
    bare = {**family, "models": [family["base"]], "method": "average"}
    assert mg.make_plan(bare).recipe.heads == (), "where there is no head, none is named"


@pytest.mark.parametrize("name", ["lm_head.weight", "decoder.weight", "bert.pooler.dense.weight", "projection.weight"])
def test_other_modules_are_never_inferred(family: dict[str, Any], name: str) -> None:
    for place in family["models"]:
        extend(place, {name: torch.zeros(11, 6)})
    text = refused(family)
    assert name in text and "classifier.weight" in text
    tied = name in {"lm_head.weight", "decoder.weight"}
    assert set(cure(text)[0]) == {"classifier.*", *([] if tied else [f"{name.partition('.')[0]}.*"])}


def test_what_is_not_plain_is_refused(family: dict[str, Any], tmp_path: Path) -> None:
    first, second = family["models"]
    extend(second, {"score.weight": torch.zeros(2, 6)})
    assert cure(refused(family))[0] == ["classifier.*", "score.*"], "the models' heads differ"
    extend(first, {"score.weight": torch.zeros(2, 6)})
    assert mg.make_plan({**family, "method": "average"}).recipe.heads == ("classifier.*", "score.*")
    extend(family["base"], {}, architectures=["LlamaForCausalLM"], tie_word_embeddings=True)
    assert cure(refused(family))[0] == ["classifier.*", "score.*"], "the base has an output of its own, tied"
    extend(family["base"], {}, architectures=["LlamaModel"])
    assert mg.make_plan({**family, "method": "average"}).recipe.heads == ("classifier.*", "score.*")
    extend(family["base"], {"score.bias": torch.zeros(2)})
    assert "has no tensor 'score.bias'" in refused(family), "the base has a part of the head"
    models.write_model(Path(family["base"]), models.random_tensors(0))
    adapter = models.write_adapter(
        tmp_path / "adapter", models.random_factors(0, models.MODULES), saved={"classifier.weight": torch.zeros(2, 6)}
    )
    text = refused({**family, "models": [str(adapter)]})
    assert cure(text)[0] == ["classifier.*"], "an adapter's heads are named by its user"


def test_a_model_of_another_base_gets_no_list_to_paste(family: dict[str, Any]) -> None:
    for place in family["models"]:
        extend(place, {f"module{number}.weight": torch.zeros(3) for number in range(20)})
    assert "--head" not in refused({**family, "heads": []})


def test_a_part_that_only_the_base_has_is_kept_by_the_line_that_the_error_prints(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    base = models.loaded(Path(family["base"]))
    own = {"cls.transform.dense.weight": torch.ones(3, 3), "cls.transform.dense.bias": torch.ones(3)}
    models.write_model(Path(family["base"]), {**base, **own})
    with pytest.raises(MismatchError) as refused:
        mg.make_plan(mg.load_recipe({**family, "method": "average"}))
    (line,) = {re.search(r"`heads: (\[.*?\])`", reason)[1] for reason in refused.value.mismatches}  # pyright: ignore[reportOptionalSubscript]
    mg.merge({**family, "method": "average", "heads": json.loads(line)}, tmp_path / "out")
    out = models.loaded(tmp_path / "out")
    assert all(torch.equal(out[name], tensor) for name, tensor in own.items())


def test_a_layer_of_many_that_models_lack_is_no_head(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    base = models.loaded(Path(family["base"]))
    models.write_model(Path(family["base"]), {**base, "layer.2.dense.weight": torch.ones(3, 3)})
    with pytest.raises(MismatchError) as refused:
        mg.make_plan(mg.load_recipe({**family, "method": "average"}))
    assert "heads" not in str(refused.value)
