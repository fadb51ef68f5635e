"""A residual on the merged model computes what the expert computes, as PEFT loads it and as far as asked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError
from mergeometry.execution import residuals
from tests.helpers import models as files
from tests.helpers.commands import invoke
from tests.helpers.peft_models import IDS, outputs, saved_adapter, tiny_llama
from tests.helpers.tiny import moved

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = ("first", "../se co/nd", "trois \N{SKULL}")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A tiny BERT and three fine-tunes of all of its parameters, each in its folder."""
    place = tmp_path_factory.mktemp("family")
    torch.manual_seed(0)
    base = files.tiny_bert()
    base.save_pretrained(place / "base")
    tuned = [moved(copy.deepcopy(base), seed) for seed in (1, 2, 3)]
    for number, model in enumerate(tuned):
        model.save_pretrained(place / f"tuned-{number}")
    return place, tuned


def recipe(place: Path, wanted: dict[str, Any], **keys: Any) -> dict[str, Any]:
    entries = [{"path": str(place / f"tuned-{number}"), "name": name} for number, name in enumerate(NAMES)]
    return {
        "base": str(place / "base"), "models": entries, "method": "tsv_m", "scale": 0.5,
        "output": {"residuals": wanted}, **keys,
    }  # fmt: skip


def served(folder: Path, record: Any, model: Any) -> Any:
    """The merged model with every residual loaded, by the models' names."""
    wrapped: Any = None
    for name, entry in record.residuals.items():
        key = f"task-{list(record.residuals).index(name)}"
        if wrapped is None:
            wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(model), folder / entry["folder"], adapter_name=key)
        else:
            result = wrapped.load_adapter(folder / entry["folder"], key)
            assert not result.unexpected_keys and not [one for one in result.missing_keys if f".{key}." in one]
    return wrapped.eval()


def chosen(wrapped: Any, number: int, *inputs: Any) -> torch.Tensor:
    wrapped.set_adapter(f"task-{number}")
    return outputs(wrapped.get_base_model(), *inputs)


def test_with_everything_kept_each_residual_gives_back_its_expert(
    family: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    place, tuned = family
    record = mg.merge(recipe(place, {"keep": 1.0}), tmp_path / "out", workers=1)
    merged = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    wrapped = served(tmp_path / "out", record, merged)
    for number in (2, 0, 1):  # in any order, one after another
        assert (outputs(merged, IDS) - outputs(tuned[number], IDS)).abs().max() > 0.1
        torch.testing.assert_close(chosen(wrapped, number, IDS), outputs(tuned[number], IDS), rtol=1e-5, atol=1e-5)
    assert mg.verify(tmp_path / "out").differences == ()
    folders = {entry["folder"] for entry in record.residuals.values()}
    assert {path.parent.name for path in (tmp_path / "out").glob("residuals/*/*")} == {
        Path(one).name for one in folders
    }
    assert all(Path(folder).parent == Path("residuals") for folder in folders) and len(folders) == 3


def test_the_record_tells_what_is_kept_as_a_reference_measures_it(
    family: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    place, tuned = family
    record = mg.merge(recipe(place, {"keep": 0.9}), tmp_path / "out", workers=1)
    merged = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    for entry, model in zip(record.residuals.values(), tuned, strict=True):
        stored = safetensors.torch.load_file(tmp_path / "out" / entry["folder"] / "adapter_model.safetensors")
        settings = json.loads((tmp_path / "out" / entry["folder"] / "adapter_config.json").read_text())
        stored = {name.removeprefix("base_model.model."): value.double() for name, value in stored.items()}
        whole = left = 0.0
        for name, value in model.state_dict().items():
            gap, module = value.double() - merged[name].double(), name.rpartition(".")[0]
            whole += float(gap.square().sum())
            if f"{module}.lora_A.weight" in stored:
                weight = name.endswith(".weight")
                down, up = stored[f"{module}.lora_A.weight"], stored[f"{module}.lora_B.weight"]
                held = up @ down if weight else stored[f"{module}.lora_B.bias"]
                rank = entry["ranks"][module]
                assert down.shape[0] == rank == settings["rank_pattern"].get(module, settings["r"])
                if weight:  # the nearest of its rank
                    nearest = torch.linalg.svdvals(gap)[rank:].square().sum()
                    torch.testing.assert_close((gap - held).square().sum(), nearest, rtol=1e-4, atol=1e-6)
            elif f"{module}.token_adapter.trainable_tokens_delta" in stored:
                rows = settings["trainable_token_indices"][module]
                assert len(rows) == entry["rows"][module]
                held = torch.zeros_like(gap)
                held[rows] = stored[f"{module}.token_adapter.trainable_tokens_delta"] - merged[name].double()[rows]
                assert gap[rows].norm(dim=1).min() >= max((gap - held).norm(dim=1)) - 1e-6  # the largest of them
            else:
                held = stored[name] - merged[name].double()
                assert module in entry["whole"]
            left += float((gap - held).square().sum())
        assert entry["kept"] == pytest.approx(1 - left / whole, abs=1e-6)
        assert 0.9 <= entry["kept"] < 0.93
        assert entry["left_out"] == {}


@pytest.mark.parametrize(
    ("wanted", "most_rank"),
    [
        ({"size": "80%", "dtype": "float16"}, 16),
        ({"rank": 3}, 3),
        pytest.param({"keep": 1.0, "rank": 2}, 2, marks=pytest.mark.suite),
    ],
)
def test_a_size_and_a_rank_are_never_exceeded(
    family: tuple[Path, list[Any]], tmp_path: Path, wanted: dict[str, Any], most_rank: int
) -> None:
    place, _ = family
    record = mg.merge(recipe(place, wanted), tmp_path / "out", workers=1)
    for entry in record.residuals.values():
        size = (tmp_path / "out" / entry["folder"] / "adapter_model.safetensors").stat().st_size
        merged = (tmp_path / "out" / "model.safetensors").stat().st_size
        assert size == entry["bytes"] <= (0.8 * merged if "size" in wanted else size)
        assert max(entry["ranks"].values()) <= most_rank
        assert 0.2 < entry["kept"] < 1


@pytest.mark.parametrize("stop", [pytest.param(3, marks=pytest.mark.suite), 60])
def test_a_run_that_stops_while_it_measures_or_writes_goes_on_to_the_same_bytes(
    family: tuple[Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    place, _ = family
    given = recipe(place, {"keep": 0.8})
    mg.merge(given, tmp_path / "whole", workers=1)
    counted = {"jobs": 0}

    def stopping(work: Any) -> Any:
        def one(job: Any) -> Any:
            counted["jobs"] += 1
            if counted["jobs"] == stop:
                raise StoppedError
            return work(job)

        return one

    with monkeypatch.context() as patch:
        patch.setattr(residuals, "measure", stopping(residuals.measure))
        patch.setattr(residuals, "write", stopping(residuals.write))
        with pytest.raises(StoppedError):
            mg.merge(given, tmp_path / "out", workers=1)
        assert not (tmp_path / "out").exists()
        before, counted["jobs"] = counted["jobs"], -1000
        record = mg.merge(given, tmp_path / "out", workers=1, resume=True)
        again = counted["jobs"] + 1000
    total = 2 * len(record.tensors)
    assert again == total - (before - 1)  # what was finished is not done again
    hashes = [
        {name: digest for name, digest in files.file_hashes(folder).items() if name.startswith("residuals/")}
        for folder in (tmp_path / "whole", tmp_path / "out")
    ]
    settings = [name for name in hashes[0] if name.endswith(".json")]  # these name the output
    assert len(hashes[0]) == 6 and len(settings) == 3
    assert {k: v for k, v in hashes[0].items() if k not in settings} == {
        k: v for k, v in hashes[1].items() if k not in settings
    }
    assert mg.verify(tmp_path / "out").differences == ()


class StoppedError(Exception):
    """The run ends here."""


def test_residuals_of_adapters_and_of_narrow_bases_are_measured_against_what_is_written(tmp_path: Path) -> None:
    base = tiny_llama().to(torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapters = [saved_adapter(base, tmp_path / f"lora-{seed}", config, seed) for seed in (1, 2)]
    given = {
        "base": str(tmp_path / "base"), "models": [str(one) for one in adapters], "method": "average",
        "output": {"residuals": {"keep": 1.0, "dtype": "float32"}},
    }  # fmt: skip
    record = mg.merge(given, tmp_path / "out", workers=1)
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    wrapped = served(tmp_path / "out", record, merged)
    for number, adapter in enumerate(adapters):
        expert = peft.PeftModel.from_pretrained(base.float(), adapter).eval()
        torch.testing.assert_close(chosen(wrapped, number, IDS), outputs(expert, IDS), rtol=1e-4, atol=1e-4)
        expert.unload()


def test_heads_lie_beside_the_residuals(tmp_path: Path) -> None:
    given = files.write_family(tmp_path, count=2)
    family = {**given, "method": "average", "heads": ["classifier.*"], "output": {"residuals": {"rank": 1}}}
    heads = {"classifier.weight": torch.ones(2, 4)}
    for number, entry in enumerate(family["models"]):
        folder = Path(entry["path"] if isinstance(entry, dict) else entry)
        tensors = files.loaded(folder)
        files.write_model(folder, {**tensors, **{name: value * number for name, value in heads.items()}})
    record = mg.merge(family, tmp_path / "out", workers=1)
    assert len(list((tmp_path / "out" / "heads").iterdir())) == 2
    assert not any("classifier" in module for entry in record.residuals.values() for module in entry["ranks"])


def test_a_single_model_that_the_merge_equals_has_a_residual_that_loads(
    family: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    place, tuned = family
    given = recipe(place, {"keep": 0.9}, method="average", scale=1.0)
    record = mg.merge({**given, "models": given["models"][:1]}, tmp_path / "out", workers=1)
    merged = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    wrapped = served(tmp_path / "out", record, merged)
    torch.testing.assert_close(chosen(wrapped, 0, IDS), outputs(tuned[0], IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"output": {"residuals": {}}}, "keep: 0.99"),
        ({"output": {"residuals": {"keep": 0.5, "size": "5%"}}}, "leave one of the two out"),
        ({"output": {"residuals": {"size": "500%"}}}, "such as 5%"),
        ({"output": {"residuals": {"kep": 0.5}}}, "did you mean 'keep'"),
        ({"output": {"residuals": {"rank": 1}, "adapter": True}}, "leave one of the two out"),
        ({"output": {"residuals": {"size": "2kB"}}}, "is less than"),
    ],
)
def test_what_cannot_be_is_refused_beforehand(
    family: tuple[Path, list[Any]], keys: dict[str, Any], message: str
) -> None:
    place, _ = family
    with pytest.raises(RecipeError, match=message):
        mg.make_plan({**recipe(place, {"rank": 1}), **keys})


def test_experts_of_a_mixture_are_refused_by_name(tmp_path: Path) -> None:
    shapes = {
        f"model.layers.0.mlp.experts.{expert}.{name}_proj.weight": (6, 4) if name != "down" else (4, 6)
        for expert in (0, 1)
        for name in ("gate", "up", "down")
    }
    given = files.write_family(tmp_path, count=2, shapes=shapes)
    with pytest.raises(MismatchError, match="mixture's experts"):
        mg.make_plan({**given, "method": "average", "output": {"residuals": {"rank": 1}}})


def test_the_plan_says_what_the_residuals_will_hold(family: tuple[Path, list[Any]], tmp_path: Path) -> None:
    place, _ = family
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(place, {"size": "80%"})))
    shown = " ".join(invoke("plan", str(tmp_path / "recipe.json")).output.split())
    assert "an adapter for each of 3 models, of 13 linear layers, rows of 3 tables, 5 modules whole; at most" in shown
