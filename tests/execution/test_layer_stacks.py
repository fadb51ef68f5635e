"""Models put together from layers of others: what they load as, compute and say of themselves."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.errors import MismatchError, OutputError, RecipeError, SourceError
from mergeometry.sink.record import read_record
from tests.helpers.models import loaded, random_factors, tuned, write_adapter, write_model
from tests.helpers.tiny import moved, tiny, tokens

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
DECODER = {**SIZES, "vocab_size": 48, "num_key_value_heads": 1, "max_position_embeddings": 64}
GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 48, "n_positions": 64}
BERT = {**SIZES, "vocab_size": 48, "max_position_embeddings": 64}
GEMMA = {
    **DECODER,
    "head_dim": 8,
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}

KINDS: dict[str, tuple[str, str, dict[str, Any], Callable[[Any], Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER, lambda model: model.model),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**DECODER, "tie_word_embeddings": True}, lambda model: model.model),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**DECODER, "num_local_experts": 2}, lambda model: model.model),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", GEMMA, lambda model: model.model),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2, lambda model: model.transformer),
    "bert": ("BertForMaskedLM", "BertConfig", BERT, lambda model: model.bert.encoder),
}
LAYERS = [(0, 0), (0, 1), (1, 1), (1, 2)]
"""Of the first model its first two layers, of the second its last two."""


def _models(kind: str, folder: Path) -> list[Any]:
    """Two models of a kind, on disk and in memory."""
    import transformers

    name, settings, sizes, _ = KINDS[kind]
    torch.manual_seed(0)
    first = getattr(transformers, name)(getattr(transformers, settings)(**sizes)).eval()
    second = moved(copy.deepcopy(first), 1, size=0.2)
    for model, place in ((first, "a"), (second, "b")):
        model.save_pretrained(folder / place)
    return [first, second]


def _stack(folder: Path, first: list[int] | None = None, second: list[int] | None = None) -> dict[str, Any]:
    ranges = [{"path": str(folder / "a"), "layers": first or [0, 2]}]
    ranges.append({"path": str(folder / "b"), "layers": second or [1, 3]})
    return {"stack": ranges, "name": "deep"}


def _list_of(module: Any) -> str:
    return next(name for name in ("layers", "h", "layer") if hasattr(module, name))


def _rearranged(kind: str, models: list[Any]) -> Any:
    """A live model with its module list put together by hand, its start the first model's and its end the second's."""
    inner = KINDS[kind][3]
    live, last = copy.deepcopy(models[0]), copy.deepcopy(models[1])
    name = _list_of(inner(live))
    layers = [copy.deepcopy(getattr(inner(models[model]), name)[layer]) for model, layer in LAYERS]
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    setattr(inner(live), name, torch.nn.ModuleList(layers))
    live.config.num_hidden_layers = len(layers)
    if types := getattr(models[0].config, "layer_types", None):
        live.config.layer_types = [types[layer] for _, layer in LAYERS]
    if kind == "bert":
        live.cls = last.cls
        live.cls.predictions.decoder.weight = live.bert.embeddings.word_embeddings.weight
        return live
    norm = "ln_f" if kind == "gpt2" else "norm"
    setattr(inner(live), norm, getattr(inner(last), norm))
    if not models[0].config.tie_word_embeddings:
        live.lm_head = last.lm_head
    return live


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ("llama", "gemma3") else pytest.mark.suite) for kind in KINDS]
)
def test_a_stack_computes_what_the_rearranged_layers_do(kind: str, tmp_path: Path) -> None:
    models = _models(kind, tmp_path)
    mg.merge({"models": [_stack(tmp_path)], "method": "passthrough"}, tmp_path / "out", workers=1)
    merged, info = type(models[0]).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    expected = _rearranged(kind, models)
    torch.testing.assert_close(merged.eval()(tokens()).logits, expected(tokens()).logits, rtol=0, atol=0)
    if kind != "bert":
        options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(merged.generate(tokens(), **options), expected.generate(tokens(), **options))


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llamas")
    _models("llama", folder)
    return folder


def test_two_stacks_are_merged_layer_by_layer(llamas: Path, tmp_path: Path) -> None:
    stacks = [_stack(llamas), {**_stack(llamas, [1, 3], [0, 2]), "name": "other"}]
    base = {"stack": [{"path": str(llamas / "a"), "layers": [0, 2]}, {"path": str(llamas / "a"), "layers": [0, 2]}]}
    mg.merge({"base": base, "models": stacks, "method": "average"}, tmp_path / "out", workers=1)
    out, first, second = loaded(tmp_path / "out"), loaded(llamas / "a"), loaded(llamas / "b")

    def layer(tensors: dict[str, Tensor], number: int) -> Tensor:
        return tensors[f"model.layers.{number}.mlp.up_proj.weight"]

    for place, (one, other) in enumerate(
        [(layer(first, 0), layer(first, 1)), (layer(first, 1), layer(first, 2)),
         (layer(second, 1), layer(second, 0)), (layer(second, 2), layer(second, 1))]
    ):  # fmt: skip
        torch.testing.assert_close(layer(out, place), (one + other) / 2)


def test_a_scale_of_zero_for_some_tensors_makes_added_layers_start_as_the_identity(
    llamas: Path, tmp_path: Path
) -> None:
    stack = [{"path": str(llamas / "a"), "layers": layers} for layers in ([0, 3], [2, 3], [2, 3])]
    zero = {"name": "passthrough", "scale": 0.0}
    rules = [
        {"match": f"model.layers.{layer}.{end}", "method": zero}
        for layer in (3, 4)
        for end in ("self_attn.o_proj.weight", "mlp.down_proj.weight")
    ]
    recipe = {"models": [{"stack": stack}], "method": "passthrough", "tensors": rules}
    mg.merge(recipe, tmp_path / "out", workers=1)
    import transformers

    deep, shallow = (
        transformers.LlamaForCausalLM.from_pretrained(place).eval() for place in (tmp_path / "out", llamas / "a")
    )
    assert deep.config.num_hidden_layers == 5
    torch.testing.assert_close(deep(tokens()).logits, shallow(tokens()).logits)


def test_the_record_hashes_each_model_of_a_stack_and_the_card_names_it(llamas: Path, tmp_path: Path) -> None:
    twice = {"stack": [{"path": str(llamas / "a"), "layers": [0, 3]}] * 2}
    record = mg.merge({"models": [twice], "method": "passthrough"}, tmp_path / "twice", workers=1)
    whole = mg.merge(
        {"base": str(llamas / "a"), "models": [str(llamas / "a")], "method": "average"}, tmp_path / "whole", workers=1
    )
    assert [(one.label, one.kind) for one in record.inputs] == [("base[0]", "checkpoint, layers 0-3, 0-3")]
    # Everything of the model was read, so the hash is that of the model itself.
    assert record.inputs[0].digest == whole.inputs[0].digest
    assert read_record(tmp_path / "twice") == record
    mg.merge({"models": [_stack(llamas)], "method": "passthrough"}, tmp_path / "out", workers=1)
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model:\n  - "a"\n  - "b"\n' in card
    assert "4 layers&#58; a 0-2, b 1-3" in card
    assert str(llamas) not in card


def test_an_interrupted_stack_is_continued_and_a_changed_one_is_not(
    llamas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergeometry.execution import run
    from mergeometry.execution.run import Interrupted

    recipe = {"models": [_stack(llamas)], "method": "passthrough"}
    seen: list[str] = []

    def stop(task: Any) -> None:
        seen.append(task.name)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run.execute(mg.make_plan(recipe), tmp_path / "out", workers=1, progress=stop)
    computed: list[str] = []
    original = run.run_jobs
    monkeypatch.setattr(run, "run_jobs", lambda jobs, *how: original(_noted(jobs, computed), *how))
    mg.merge(recipe, tmp_path / "out", workers=1, resume=True)
    assert len(computed) == len(mg.make_plan(recipe).tasks) - 5
    fresh = mg.merge(recipe, tmp_path / "fresh", workers=1)
    assert read_record(tmp_path / "out").digest == fresh.digest


def _noted(jobs: Any, names: list[str]) -> list[Any]:
    jobs = list(jobs)
    names.extend(job.task.name for job in jobs)
    return jobs


def test_the_text_layers_of_a_vision_language_model_are_stacked_and_its_section_counts_them(tmp_path: Path) -> None:
    model = tiny("gemma3")
    model.save_pretrained(tmp_path / "a")
    stack = {"stack": [{"path": str(tmp_path / "a"), "layers": layers} for layers in ([0, 2], [0, 2])]}
    mg.merge({"models": [stack], "method": "passthrough"}, tmp_path / "out", workers=1)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["text_config"]["num_hidden_layers"] == 4
    assert len(config["text_config"]["layer_types"]) == 4
    assert config["vision_config"]["num_hidden_layers"] == 2
    merged, info = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert merged.eval()(input_ids=tokens()).logits.shape == (2, 7, 64)


def test_a_stack_is_no_place_to_run_a_model_from(llamas: Path, tmp_path: Path) -> None:
    base = {"stack": _stack(llamas)["stack"]}
    data = {"data": {"tasks": {"deep": str(tmp_path / "texts.jsonl")}}, "method": "regmean"}
    for more in (data, {"method": "average", "output": {"adapter": True}}):
        with pytest.raises(RecipeError, match="the base is a stack of layers"):
            mg.make_plan({"base": base, "models": [_stack(llamas)], **more})


def test_a_comparison_of_stacks_is_refused_with_the_way_out(llamas: Path) -> None:
    from mergeometry.comparison.setup import set_up
    from mergeometry.comparison.tasks_file import TasksFile

    recipe = mg.load_recipe({"models": [_stack(llamas)], "method": "passthrough"})
    with pytest.raises(RecipeError, match="the base is a stack of layers, and a comparison runs models") as caught:
        set_up(recipe, (), TasksFile.model_construct(tasks=()), (), everything=False)
    assert "write the stack first" in str(caught.value)


def test_an_output_may_not_replace_a_model_of_a_stack(llamas: Path) -> None:
    with pytest.raises(OutputError):
        mg.merge({"models": [_stack(llamas)], "method": "passthrough"}, llamas / "b", overwrite=True)


def test_an_adapter_as_an_entry_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", random_factors(0, {"model.layers.0.self_attn.q_proj": (16, 16)}))
    stack = {"stack": [{"path": str(tmp_path / "lora"), "layers": [0, 2]}]}
    with pytest.raises(SourceError, match="an entry of a stack is an adapter") as caught:
        mg.make_plan({"models": [stack], "method": "passthrough"})
    assert "write MODEL+ADAPTER" in str(caught.value)


def test_settings_and_precisions_of_the_entries_are_compared(llamas: Path, tmp_path: Path) -> None:
    shutil.copytree(llamas, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "b" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    half = {name: tensor.bfloat16() for name, tensor in loaded(tmp_path / "b").items()}
    write_model(tmp_path / "b", half)
    recipe = {"models": [_stack(tmp_path)], "method": "passthrough"}
    with pytest.raises(MismatchError) as caught:
        mg.make_plan(recipe)
    text = str(caught.value)
    assert "rms_norm_eps: 0.001, that of the stack's first entry 1e-06" in text
    assert "b 1-3 is stored in BF16, the stack's first entry in F32; set `output.dtype`" in text
    plan = mg.make_plan({**recipe, "config": "base", "output": {"dtype": "bfloat16"}})
    assert any("rms_norm_eps" in note for note in plan.notes)


def test_a_toy_without_a_configuration_is_stacked(tmp_path: Path) -> None:
    tensors = {f"blocks.{n}.{end}": torch.randn(3, 3) for n in range(3) for end in ("a.weight", "b.weight")}
    tensors |= {"patch_embed.weight": torch.randn(3, 3), "head.weight": torch.randn(2, 3)}
    write_model(tmp_path / "a", tensors)
    write_model(tmp_path / "b", tuned(tensors, 1))
    mg.merge({"models": [_stack(tmp_path)], "method": "passthrough"}, tmp_path / "out", workers=1)
    out, second = loaded(tmp_path / "out"), loaded(tmp_path / "b")
    assert torch.equal(out["blocks.3.b.weight"], second["blocks.2.b.weight"])
    assert torch.equal(out["patch_embed.weight"], tensors["patch_embed.weight"])
    assert torch.equal(out["head.weight"], second["head.weight"])
