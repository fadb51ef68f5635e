"""Learning from recipe to folder: what is written is what was learned, loads in transformers, resumes, and refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.errors import DataError, MergeometryError, NumericalError, OutputError, RecipeError
from mergeometry.execution.run import Interrupted
from mergeometry.learning import estimate
from mergeometry.learning.train import Point
from mergeometry.sink import LearningPlace, read_record
from tests.helpers import learning_models, models

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

CLASSES = (3, 4, 2)
COUNT = 24
QUICK = {
    "objective": "mda", "coefficients": "layer", "steps": 6, "check_every": 2, "batch_size": 4, "held_out": 0.25,
    "patience": 0, "learning_rate": 0.05, "rotation_learning_rate": 0.05,
}  # fmt: skip
DISTILL = {**QUICK, "objective": "distill", "coefficients": "layer", "hidden": 0.5}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("tuned"), CLASSES, COUNT)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("adapters"), CLASSES, COUNT, adapters=True)


def recipe_of(inputs: Mapping[str, Any], settings: Mapping[str, Any], **recipe: Any) -> dict[str, Any]:
    return learning_models.with_settings(inputs, settings, **{"method": "mda", "scale": 0.4, "seed": 5, **recipe})


def texts_of(recipe: Mapping[str, Any], task: int) -> list[str]:
    lines = Path(recipe["adapt"]["tasks"][task]["data"]).read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def pooled_by(model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Mean-pooled features as transformers computes them, text by text."""
    with torch.no_grad():
        found = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.stack(found)


def check_features(prepared: Any, recipe: Mapping[str, Any], model: Any, output: Path) -> None:
    """Features of the folder, and the predictions of its heads, are those of the learner with its rotations."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe["base"])
    for task, own in enumerate(prepared.heads):
        z = learning_models.features_of(prepared, task, range(COUNT))
        found = pooled_by(model.eval(), tokenizer, texts_of(recipe, task))
        torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-5)
        rotation = prepared.scene.rotations[task]
        logits = own.logits(z if rotation is None else rotation(z)).detach()
        head = models.loaded(output / "heads", f"task{task}")
        assert set(head) == {"weight", "bias"} and head["weight"].shape == (CLASSES[task], 16)
        torch.testing.assert_close(found @ head["weight"].T + head["bias"], logits, rtol=1e-3, atol=1e-4)
        assert torch.equal((found @ head["weight"].T + head["bias"]).argmax(dim=1), logits.argmax(dim=1))
        if rotation is not None:
            assert float((head["weight"] - own.weight).abs().max()) > 1e-3, "the rotation is not in the head"


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mda": ("tuned", {**QUICK, "coefficients": "layer"}, {}),
    "full rotation, directions": ("tuned", {**QUICK, "coefficients": "direction", "rotation": "full"}, {}),
    "pairs": ("tuned", {**DISTILL, "coefficients": "pair"}, {"method": "tsv_m"}),
    "rotations alone": ("tuned", {**QUICK, "coefficients": "fixed"}, {"method": "dc_merge"}),
    "adamerging": ("tuned", {**QUICK, "objective": "adamerging", "coefficients": "task"}, {"method": "adamerging"}),
    "plus": ("tuned", {**QUICK, "objective": "adamerging"}, {"method": {"name": "adamerging", "density": 0.3}}),
    "ties": ("tuned", {**DISTILL, "coefficients": "tensor"}, {"method": "ties", "other": "task_arithmetic"}),
    "adapters": ("adapters", {**QUICK, "coefficients": "direction"}, {}),
    "adapters, trimmed": ("adapters", DISTILL, {"method": {"name": "adamerging", "density": 0.5}}),
    "checkpointed": ("tuned", {**QUICK, "activation_checkpointing": True}, {}),
    "a rule of its own": (
        "tuned", {**QUICK, "coefficients": "layer"},
        {"tensors": [{"match": "*query.weight", "scale": 0.2, "method": "tsv_m"}, {"match": "*word_emb*", "scale": 0}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_written_is_what_was_learned(case: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    family, settings, more = CASES[case]
    recipe = recipe_of(request.getfixturevalue(family), settings, **more)
    out = tmp_path / "out"
    run = mg.merge(recipe, out, workers=1)
    prepared = learning_models.learned_by(recipe)
    state, table = prepared.learner.state, prepared.table

    model, info = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    check_features(prepared, recipe, model, out)

    base, written = models.loaded(Path(recipe["base"])), models.loaded(out)
    assert set(base) == set(written)
    changed = 0
    for name, tensor in prepared.scene.merged.tensors.items():
        expected = base[name] + tensor.update(table.of(name))
        assert torch.allclose(written[name], expected, atol=1e-6), name
        changed += not torch.equal(written[name], base[name])
    assert changed > len(prepared.scene.merged.tensors) / 2
    untouched = set(base) - set(prepared.scene.merged.tensors)
    assert all(torch.equal(written[name], base[name]) for name in untouched)

    kept = safetensors.torch.load_file(out / "adapt" / "coefficients.safetensors")
    assert set(kept) == set(table.parameters)
    assert all(torch.equal(kept[key], value) for key, value in table.parameters.items())
    rotations = out / "adapt" / "rotations.safetensors"
    assert rotations.exists() == any(prepared.scene.rotations)
    if rotations.exists():
        for task, own in enumerate(prepared.scene.rotations):
            assert torch.equal(safetensors.torch.load_file(rotations)[f"task{task}"], own.matrix())
    curves = json.loads((out / "adapt" / "curves.json").read_text())
    assert [point["step"] for point in curves] == list(range(7))
    assert [point["held_out"] is not None for point in curves] == [True, False, True, False, True, False, True]
    assert curves[0]["loss"] is None and all(isinstance(point["loss"], float) for point in curves[1:])

    assert read_record(out) == run
    summary = run.adapt
    assert summary is not None and summary["learned_numbers"] == sum(value.numel() for value in kept.values())
    held_out = {point["step"]: point["held_out"] for point in curves if point["held_out"] is not None}
    assert summary["kept_step"] == min(held_out, key=lambda step: held_out[step]) == state.best_step
    assert summary["held_out"] == {"start": held_out[0], "kept": min(held_out.values())}
    assert summary["steps"] == 6 and [own["items"] for own in summary["data"]] == [COUNT] * 3
    assert summary["coefficients"] == settings["coefficients"] and summary["precision"] == "float32"
    if case not in ("rotations alone",):
        used = next(own for own in run.methods if own.name == prepared_name(recipe))
        assert used.parameters["learned"] == summary["coefficients"]
    assert not list(tmp_path.glob(".out*")), "something is left beside the output"


def prepared_name(recipe: Mapping[str, Any]) -> str:
    method = recipe["method"]
    return method if isinstance(method, str) else method["name"]


@pytest.mark.parametrize("method", ["tsv_m", "mda", "dc_merge", "task_arithmetic", "adamerging"])
def test_an_adapter_as_output_is_the_dense_result(adapters: dict[str, Any], tmp_path: Path, method: str) -> None:
    settings = {**QUICK, "coefficients": "pair" if method == "mda" else "direction"}
    recipe = recipe_of(adapters, settings, method=method)
    dense = mg.merge(recipe, tmp_path / "dense", workers=1)
    run = mg.merge({**recipe, "output": {"adapter": True}}, tmp_path / "adapter", workers=1)
    base = transformers.AutoModel.from_pretrained(recipe["base"])
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    prepared = learning_models.learned_by(recipe)
    check_features(prepared, recipe, adapted, tmp_path / "adapter")
    assert run.adapt is not None and dense.adapt is not None
    assert {**run.adapt, "seconds": 0} == {**dense.adapt, "seconds": 0}


def test_a_zero_adapter_takes_part(adapters: dict[str, Any], tmp_path: Path) -> None:
    """A fresh adapter, whose B is zero, has no direction to learn a coefficient for."""
    base = transformers.AutoModel.from_pretrained(adapters["base"])
    fresh = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["query", "value", "intermediate.dense"]))
    fresh.save_pretrained(tmp_path / "task0")
    inputs = {**adapters, "models": [str(tmp_path / "task0"), *adapters["models"][1:]]}
    for output in ({"adapter": True}, {}):
        recipe = recipe_of(inputs, {**QUICK, "coefficients": "direction"}, output=output)
        run = mg.merge(recipe, tmp_path / f"out{len(output)}", workers=1)
        assert run.adapt is not None and run.adapt["learned_numbers"] == 6 * (3 + 4)
    inputs["models"] = [str(tmp_path / "task0")] * 3
    inputs["models"] = [{"path": place, "name": f"task{t}"} for t, place in enumerate(inputs["models"])]
    recipe = recipe_of(inputs, {**QUICK, "coefficients": "direction"}, output={"adapter": True})
    mg.merge(recipe, tmp_path / "nothing", workers=1)
    written = safetensors.torch.load_file(tmp_path / "nothing" / "adapter_model.safetensors")
    assert written and not any(
        bool((tensor if "lora_B" in name else tensor * 0).any()) for name, tensor in written.items()
    )


# ------------------------------------------------------------------------------------------- language models


def causal(kind: str, tied: bool) -> Any:
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "tie_word_embeddings": tied}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=40, **special)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
            vocab_size=40, **special,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    return model.eval()


def causal_family(folder: Path, kind: str, tied: bool, twice: bool = False) -> dict[str, Any]:
    model = causal(kind, tied)
    places = [learning_models.save_base(model, folder / "base")]
    places += [learning_models.save_tuned(model, folder / f"task{task}", task) for task in range(2)]
    if twice:
        for place in places:
            disk = models.loaded(place)
            embedding = next(tensor for name, tensor in disk.items() if "embed_tokens" in name or "wte" in name)
            disk["lm_head.weight"] = embedding.clone()
            safetensors.torch.save_file(disk, place / "model.safetensors", metadata={"format": "pt"})
    tasks = [learning_models.task_of(folder, task, None, COUNT) for task in range(2)]
    return {"base": str(places[0]), "models": [str(place) for place in places[1:]], "adapt": {"tasks": tasks}}


@pytest.mark.parametrize("rotation", ["subspace", "full", "none"])
@pytest.mark.parametrize(
    ("tied", "twice"), [(True, False), (True, True), (False, False)], ids=["tied", "tied-stored-twice", "untied"]
)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_language_models_are_written_as_learned(
    kind: str, tied: bool, twice: bool, rotation: str, tmp_path: Path
) -> None:
    recipe = recipe_of(
        causal_family(tmp_path, kind, tied, twice), {**DISTILL, "rotation": rotation, "coefficients": "tensor"}
    )
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    prepared = learning_models.learned_by(recipe)
    encoder = prepared.scene.merged.encoder
    weights = prepared.scene.merged.weights(prepared.table, torch.float32)
    turn = prepared.scene.rotations[0]
    model, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    written = models.loaded(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    own_layer = not tied or twice or rotation != "none"
    assert ("lm_head.weight" in written) == own_layer
    assert config["tie_word_embeddings"] is (tied and rotation == "none")
    for task in range(2):
        z = learning_models.features_of(prepared, task, range(COUNT))
        logits = ((z if turn is None else turn(z)) @ encoder.head_weight(weights).T).detach()
        found = []
        for numbers in prepared.scene.inputs[task].items:
            with torch.no_grad():
                found.append(model.eval()(input_ids=torch.tensor([numbers])).logits[0, :-1])
        torch.testing.assert_close(torch.cat(found), logits, rtol=1e-4, atol=1e-4)
    embedding = next(tensor for name, tensor in written.items() if "embed_tokens" in name or "wte" in name)
    if tied and twice:
        same = written["lm_head.weight"] if turn is None else embedding @ turn.matrix().detach()
        assert torch.allclose(written["lm_head.weight"], same, atol=1e-5)
        assert not any("not run by the encoder" in warning for warning in run.warnings)
        assert "lm_head.weight" not in safetensors.torch.load_file(tmp_path / "out" / "adapt/coefficients.safetensors")
        assert turn is not None or torch.equal(written["lm_head.weight"], embedding)
    if turn is not None:
        assert float((written["lm_head.weight"] - weights_of_output(encoder, weights)).abs().max()) > 1e-3
        assert set(safetensors.torch.load_file(tmp_path / "out" / "adapt/rotations.safetensors")) == {"shared"}


def weights_of_output(encoder: Any, weights: Mapping[str, Tensor]) -> Tensor:
    return encoder.head_weight(weights).detach()


# --------------------------------------------------------------------------- the same again, stopped, resumed


def stopping_at(step: int) -> Callable[[Point], None]:
    def report(point: Point) -> None:
        if point.step == step:
            raise KeyboardInterrupt

    return report


def test_the_seed_decides(tuned: dict[str, Any], tmp_path: Path) -> None:
    runs = [
        mg.merge(recipe_of(tuned, QUICK, seed=seed), tmp_path / f"out{number}", workers=workers)
        for number, (seed, workers) in enumerate([(5, 1), (5, 2), (6, 1)])
    ]
    assert runs[0].sha256 == runs[1].sha256 != runs[2].sha256
    for name in ("adapt/coefficients.safetensors", "adapt/curves.json", "heads/task0.safetensors"):
        first, second, other = ((tmp_path / f"out{number}" / name).read_bytes() for number in range(3))
        assert first == second != other, name


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_interrupted_merge_goes_on(tuned: dict[str, Any], tmp_path: Path, stop: int) -> None:
    recipe = recipe_of(tuned, QUICK)
    whole = mg.merge(recipe, tmp_path / "whole", workers=1)
    kept = tmp_path / ".out.mergeometry-learning" / "learning.safetensors"
    with pytest.raises(Interrupted, match=r"interrupted; nothing was published(.|\n)*--resume"):
        mg.merge(recipe, tmp_path / "out", workers=1, report=stopping_at(stop))
    assert not (tmp_path / "out").exists() and kept.exists()
    seen: list[int] = []
    again = mg.merge(recipe, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen == list(range((stop - 1) // 2 * 2 + 1, 7))
    assert again.sha256 == whole.sha256 and not kept.parent.exists()
    for name in ("adapt/coefficients.safetensors", "adapt/rotations.safetensors", "heads/task0.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resuming_with_other_data_starts_anew_and_says_so(tuned: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(tuned, QUICK)
    with pytest.raises(Interrupted):
        mg.merge(recipe, tmp_path / "out", workers=1, report=stopping_at(5))
    seen: list[int] = []
    other = recipe_of(tuned, {**QUICK, "batch_size": 5})
    run = mg.merge(other, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen[0] == 0 and any("learning started over" in warning for warning in run.warnings)


def test_divergence_publishes_nothing_and_a_lower_rate_goes_on(tuned: dict[str, Any], tmp_path: Path) -> None:
    wild = recipe_of(tuned, {**QUICK, "learning_rate": 1e30})
    with pytest.raises(Interrupted):
        mg.merge(recipe_of(tuned, QUICK), tmp_path / "out", workers=1, report=stopping_at(4))
    with pytest.raises(NumericalError, match=r"not finite at step \d(.|\n)*lower adapt.learning_rate(.|\n)*step 2,"):
        mg.merge(wild, tmp_path / "out", workers=1, resume=True)
    assert not (tmp_path / "out").exists()
    seen: list[int] = []
    tame = recipe_of(tuned, {**QUICK, "learning_rate": 1e-3})
    run = mg.merge(tame, tmp_path / "out", workers=1, resume=True, report=lambda point: seen.append(point.step))
    assert seen == [3, 4, 5, 6] and run.adapt is not None and run.adapt["steps"] == 6


def test_two_runs_never_share_an_output(tuned: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(tuned, QUICK)
    with LearningPlace(tmp_path / "out"), pytest.raises(OutputError, match="another run is writing the same output"):
        mg.merge(recipe, tmp_path / "out", workers=1)
    mg.merge(recipe, tmp_path / "out", workers=1)
    with pytest.raises(OutputError, match="exists already"):
        mg.merge(recipe, tmp_path / "out", workers=1)
    before = (tmp_path / "out" / "mergeometry.json").read_bytes()
    mg.merge(recipe_of(tuned, {**QUICK, "steps": 2}), tmp_path / "out", workers=1, overwrite=True)
    assert (tmp_path / "out" / "mergeometry.json").read_bytes() != before


# -------------------------------------------------------------------------------------------- the command line


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_line(tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "COLUMNS": "200"})
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe_of(tuned, QUICK)))
    shown = invoke("plan", file)
    assert shown.exit_code == 0, shown.output
    assert "task task1: 24 unlabelled texts" in shown.output and "learns by mda for at most 6 steps" in shown.output
    planned = json.loads(invoke("plan", file, "--json").stdout)["learning"]
    assert planned["steps"] == 6 and planned["memory_bytes"] > 1e8 and planned["seconds"] > 0
    merged = invoke("merge", file, "--output", tmp_path / "out", "--workers", "1")
    assert merged.exit_code == 0, merged.output
    assert "learned by mda" in merged.output and "held-out objective" in merged.output
    run = read_record(tmp_path / "out")
    assert run.adapt is not None and run.adapt["steps"] == 6
    told = invoke("merge", file, "--output", tmp_path / "other", "--workers", "1", "--json", "--set", "adapt.steps=2")
    assert json.loads(told.stdout)["adapt"]["steps"] == 2

    from mergeometry.learning.train import Learner

    original = Learner._step
    monkeypatch.setattr(
        Learner, "_step", lambda self: stopping_at(2)(Point(2, 0, {})) if self.state.step == 4 else original(self)
    )
    stopped = invoke("merge", file, "--output", tmp_path / "again", "--workers", "1")
    assert stopped.exit_code == 130 and "--resume" in stopped.output and not (tmp_path / "again").exists()
    monkeypatch.setattr(Learner, "_step", original)
    resumed = invoke("merge", file, "--output", tmp_path / "again", "--workers", "1", "--resume")
    assert resumed.exit_code == 0 and read_record(tmp_path / "again").sha256 == run.sha256

    monkeypatch.setattr(Learner, "_step", lambda self: stopping_at(2)(Point(2, 0, {})))
    assert invoke("merge", file, "--output", tmp_path / "third").exit_code == 130
    monkeypatch.setattr(Learner, "_step", original)
    assert (tmp_path / ".third.mergeometry-learning").is_dir()
    assert "removed" in invoke("clean", tmp_path / "third").output
    assert not (tmp_path / ".third.mergeometry-learning").exists()
    assert "nothing was staged" in invoke("clean", tmp_path / "third").output


ODD = ["a b/ü", "[bold]x", "..", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.safetensors"]


def test_odd_names(tuned: dict[str, Any], tmp_path: Path) -> None:
    names = ODD[:3]
    inputs = {
        **tuned,
        "models": [{"path": place, "name": name} for place, name in zip(tuned["models"], names, strict=True)],
        "adapt": {"tasks": [{**task, "name": name} for task, name in zip(tuned["adapt"]["tasks"], names, strict=True)]},
    }
    for changed in (names, [*ODD[1:]]):
        for entry, task, name in zip(inputs["models"], inputs["adapt"]["tasks"], changed, strict=True):
            entry["name"] = task["name"] = name
        out = tmp_path / f"out{changed.index('..')}"
        file = tmp_path / "recipe.yaml"
        file.write_text(json.dumps(recipe_of(inputs, QUICK)))
        merged = invoke("merge", file, "--output", out, "--workers", "1")
        assert merged.exit_code == 0, merged.output
        assert all(ord(character) != 0x202E for character in merged.output)
        heads = sorted(path.name for path in (out / "heads").iterdir())
        assert len(heads) == 3 and not any("/" in name for name in heads)
        assert set(safetensors.torch.load_file(out / "adapt/rotations.safetensors")) == set(changed)
        assert {path.name for path in tmp_path.iterdir()} <= {"recipe.yaml", "out0", "out1", "out2"}


# -------------------------------------------------------------------------------------------------- bad input


def bad_head(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    safetensors.torch.save_file(dict(tensors), folder / "head.safetensors")
    return str(folder / "head.safetensors")


def with_task(inputs: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    first, *others = inputs["adapt"]["tasks"]
    changed = {key: value for key, value in {**first, **changes}.items() if value is not None}
    return {**inputs, "adapt": {"tasks": [changed, *others]}}


def text_file(folder: Path, content: str, name: str = "texts.jsonl") -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def image_folder(folder: Path) -> str:
    from PIL import Image

    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "one.png")
    return str(folder / "images")


Broken = Callable[[dict[str, Any], Path], dict[str, Any]]
BAD: dict[str, tuple[Broken, type[MergeometryError], str]] = {
    "head width": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=bad_head(folder, {"w": torch.ones(3, 15)})), QUICK),
        DataError, "takes 15 features, and the encoder gives 16",
    ),
    "one class": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=bad_head(folder, {"w": torch.ones(1, 16)})), QUICK),
        DataError, "the head has 1 class",
    ),
    "bias": (
        lambda inputs, folder: recipe_of(
            with_task(inputs, head=bad_head(folder, {"w": torch.ones(3, 16), "b": torch.ones(4)})), QUICK
        ),
        DataError, "no bias fits the weight's 3 classes",
    ),
    "no head": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=None), QUICK),
        DataError, "no head is given for task0",
    ),
    "no head to distill": (
        lambda inputs, folder: recipe_of(with_task(inputs, head=None), {**DISTILL, "hidden": 0}),
        DataError, "no head is given for task0, so there are no predictions to distill",
    ),
    "a task without data": (
        lambda inputs, folder: recipe_of({**inputs, "adapt": {"tasks": inputs["adapt"]["tasks"][:2]}}, QUICK),
        RecipeError, "no data for 'task2'",
    ),
    "a misspelt task": (
        lambda inputs, folder: recipe_of(with_task(inputs, name="tsak0"), QUICK),
        RecipeError, "no model is named 'tsak0'.*task0",
    ),
    "a missing file": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=str(folder / "nowhere.jsonl")), QUICK),
        MergeometryError, "nowhere.jsonl",
    ),
    "a missing column": (
        lambda inputs, folder: recipe_of(
            with_task(inputs, data={"path": text_file(folder, '{"sentence": "w1 w2"}\n'), "column": "sentense"}), QUICK
        ),
        DataError, "sentense.*did you mean 'sentence'",
    ),
    "an empty file": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=text_file(folder, "")), QUICK),
        DataError, "texts.jsonl",
    ),
    "images for a text model": (
        lambda inputs, folder: recipe_of(with_task(inputs, data=image_folder(folder)), QUICK),
        DataError, "images",
    ),
    "a method without parts": (
        lambda inputs, folder: recipe_of(inputs, QUICK, method="iso_c"),
        RecipeError, "iso_c has no part for each task",
    ),
    "another method without parts": (
        lambda inputs, folder: recipe_of(inputs, QUICK, tensors=[{"match": "*query.weight", "method": "iso_cts"}]),
        RecipeError, "iso_cts has no part for each task",
    ),
    "adamerging without data": (
        lambda inputs, folder: {**{k: v for k, v in inputs.items() if k != "adapt"}, "method": "adamerging"},
        RecipeError, "adamerging learns its coefficients.*no `adapt:` section",
    ),
    "the wrong kind of encoder": (
        lambda inputs, folder: recipe_of(inputs, {**QUICK, "encoder": {"kind": "causal"}}),
        MergeometryError, "alpha: 0|output layer|cannot build|not those that transformers runs",
    ),
    "an image encoder of texts": (
        lambda inputs, folder: recipe_of(inputs, {**QUICK, "encoder": {"kind": "image"}}),
        MergeometryError, "image",
    ),
    "an adapter of what is none": (
        lambda inputs, folder: recipe_of(inputs, QUICK, output={"adapter": True}),
        MergeometryError, "adapter cannot hold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_clear_error(case: str, tuned: dict[str, Any], tmp_path: Path) -> None:
    change, kind, said = BAD[case]
    recipe = change(tuned, tmp_path)
    (tmp_path / "place").mkdir()
    with pytest.raises(kind, match=f"(?s){said}") as caught:
        mg.merge(recipe, tmp_path / "place" / "out", workers=1)
    assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 6000
    assert not list((tmp_path / "place").iterdir()), "something was written"
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    shown = invoke("merge", file, "--output", tmp_path / "place" / "out", "--workers", "1")
    assert shown.exit_code == 1 and "Traceback" not in shown.output


def test_a_machine_that_is_too_small(tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "physical_memory", lambda: 300_000_000)
    monkeypatch.setattr("mergeometry.learning.run.build_encoder", lambda *_: pytest.fail("the model was built first"))
    with pytest.raises(RecipeError, match=r"would take about 0\.\d GB of memory, and there are 0\.3 GB"):
        mg.merge(recipe_of(tuned, QUICK), tmp_path / "out", workers=1)
    assert not list(tmp_path.iterdir())


def test_more_classes_than_a_simplex_has_room_for(tuned: dict[str, Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    head = bad_head(tmp_path, {"weight": torch.randn(19, 16, generator=generator)})
    run = mg.merge(recipe_of(with_task(tuned, head=head), QUICK), tmp_path / "out", workers=1)
    assert any(
        "task0: 19 classes in 16 dimensions have no simplex" in note and "coherence" in note for note in run.warnings
    )
    assert models.loaded(tmp_path / "out" / "heads", "task0")["weight"].shape == (19, 16)


def test_classes_that_are_never_predicted_are_noted(tuned: dict[str, Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 16, generator=generator)
    head = bad_head(tmp_path, {"weight": weight, "bias": torch.tensor([0.0, 0.0, -1e3])})
    run = mg.merge(recipe_of(with_task(tuned, head=head), QUICK), tmp_path / "out", workers=1)
    assert any(re.match("task0: [12] of 3 classes are predicted for none", note) for note in run.warnings)


def test_heads_of_the_models_give_way_to_those_that_were_learned(tuned: dict[str, Any], tmp_path: Path) -> None:
    """Experts saved with classifiers: `heads` keeps those, but the turned one is what fits the merge."""
    import shutil

    places = []
    for number, classes in enumerate(CLASSES):
        place = tmp_path / f"task{number}"
        shutil.copytree(tuned["models"][number], place)
        disk = models.loaded(place)
        head = safetensors.torch.load_file(tuned["adapt"]["tasks"][number]["head"])
        assert len(head["bias"]) == classes
        disk = {f"bert.{name}": tensor for name, tensor in disk.items()}
        disk |= {f"classifier.{name}": tensor for name, tensor in head.items()}
        safetensors.torch.save_file(disk, place / "model.safetensors", metadata={"format": "pt"})
        places.append(str(place))
    tasks = [
        {**task, "head": {"path": place, "weight": "classifier.weight"}}
        for task, place in zip(tuned["adapt"]["tasks"], places, strict=True)
    ]
    inputs = {**tuned, "models": places, "heads": ["classifier.*"], "adapt": {"tasks": tasks}}
    mg.merge(recipe_of(inputs, QUICK), tmp_path / "out", workers=1)
    mg.merge(recipe_of(tuned, QUICK), tmp_path / "plain", workers=1)
    for number in range(3):
        own, plain = (models.loaded(tmp_path / name / "heads", f"task{number}") for name in ("out", "plain"))
        assert set(own) == {"weight", "bias"}
        assert all(torch.allclose(tensor, plain[name], atol=1e-5) for name, tensor in own.items())
