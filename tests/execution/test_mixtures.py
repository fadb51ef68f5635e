"""Dense models as experts: mixtures are loaded by transformers' own classes, and compute what they must."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import mergeometry as mg
from benchmarks.studies import golden_mixture
from mergeometry.errors import MismatchError, RecipeError, SourceError
from mergeometry.plan.mixture import open_mixture
from mergeometry.recipe.mixture import load_mixture
from mergeometry.sink.record import read_record
from tests.helpers.commands import invoke
from tests.helpers.models import loaded
from tests.helpers.tiny import moved, tokens

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
DENSE = {"mistral": "Mistral", "llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
WORDS = "where when who red green blue one two three four five six seven".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of every kind, and two fine-tunes of it."""
    import transformers

    folder = tmp_path_factory.mktemp("dense")
    for kind, name in DENSE.items():
        extra = {"head_dim": 16} if kind == "qwen3" else {}
        config = getattr(transformers, f"{name}Config")(**SIZES, **extra)
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        moved(model, 7, size=0.1).save_pretrained(folder / kind / "base")
        for number in (1, 2):
            moved(model, number, size=0.1).save_pretrained(folder / kind / f"tuned{number}")
    for kind in DENSE:
        _tokenizer().save_pretrained(folder / kind / "base")
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<s>", "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>")


def _written(folder: Path, recipe: dict[str, Any], *options: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    result = invoke("mixture", str(file), "--output", str(folder / "out"), "--workers", "1", *options)
    assert result.exit_code == 0, result.output
    return folder / "out"


def _loaded(name: str, place: Path) -> Any:
    import transformers

    model, info = getattr(transformers, name).from_pretrained(place, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def _logits(name: str, place: Path) -> Tensor:
    return _loaded(name, place)(tokens()).logits


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("mistral", "MixtralForCausalLM"),
        pytest.param("llama", "MixtralForCausalLM", marks=pytest.mark.suite),
        pytest.param("qwen3", "Qwen3MoeForCausalLM", marks=pytest.mark.suite),
    ],
)
def test_equal_experts_compute_what_the_dense_model_does(dense: Path, tmp_path: Path, kind: str, cls: str) -> None:
    base = str(dense / kind / "base")
    out = _written(tmp_path, {"base": base, "experts": [base, base, base], "gate": "random", "experts_per_token": 2})
    torch.testing.assert_close(_logits(cls, out), _logits(f"{DENSE[kind]}ForCausalLM", Path(base)))
    assert _loaded(cls, out).generate(tokens(), max_new_tokens=4, do_sample=False).shape == (2, 11)


def test_uniform_gates_take_the_mean_of_the_experts(dense: Path, tmp_path: Path) -> None:
    folder = dense / "mistral"
    recipe = {
        "base": str(folder / "base"),
        "experts": [str(folder / "tuned1"), str(folder / "tuned2")],
        "gate": "uniform",
    }
    mixture = _loaded("MixtralForCausalLM", _written(tmp_path, recipe))
    experts = [_loaded("MistralForCausalLM", folder / name) for name in ("tuned1", "tuned2")]
    hidden = torch.randn(2, 5, 32)
    for number, layer in enumerate(mixture.model.layers):
        expected = sum(expert.model.layers[number].mlp(hidden) for expert in experts) / 2
        got = layer.mlp(hidden)
        torch.testing.assert_close(got[0] if isinstance(got, tuple) else got, expected)


@pytest.mark.parametrize("kind", ["qwen2", pytest.param("llama", marks=pytest.mark.suite)])
def test_a_shared_expert_is_added_by_its_own_gate(dense: Path, tmp_path: Path, kind: str) -> None:
    folder = dense / kind
    recipe = {
        "base": str(folder / "base"),
        "experts": [str(folder / "tuned1"), str(folder / "tuned2")],
        "shared_expert": str(folder / "base"),
        "gate": "uniform",
    }
    mixture = _loaded("Qwen2MoeForCausalLM", _written(tmp_path, recipe))
    name = f"{DENSE[kind]}ForCausalLM"
    base, *experts = (_loaded(name, folder / place) for place in ("base", "tuned1", "tuned2"))
    hidden = torch.randn(2, 5, 32)
    for number, layer in enumerate(mixture.model.layers):
        routed = sum(expert.model.layers[number].mlp(hidden) for expert in experts) / 2
        got = layer.mlp(hidden)
        # A gate of zero is a half.
        expected = routed + base.model.layers[number].mlp(hidden) / 2
        torch.testing.assert_close(got[0] if isinstance(got, tuple) else got, expected)


@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen2", marks=pytest.mark.suite)])
def test_equal_experts_with_a_silent_shared_one_compute_what_the_dense_model_does(
    dense: Path, tmp_path: Path, kind: str
) -> None:
    base = str(dense / kind / "base")
    shared = {"path": base, "residual_scale": 0.0}
    out = _written(tmp_path, {"base": base, "experts": [base, base], "shared_expert": shared, "gate": "random"})
    torch.testing.assert_close(_logits("Qwen2MoeForCausalLM", out), _logits(f"{DENSE[kind]}ForCausalLM", Path(base)))


_MORE_GATES = ("hidden_avg", "cheap_embed")
PROMPTS = [
    {"positive_prompts": ["where when", "who"], "negative_prompts": ["five six seven"]},
    {"positive_prompts": ["red green blue one"]},
]


@pytest.mark.parametrize("gate", ["hidden", *(pytest.param(gate, marks=pytest.mark.suite) for gate in _MORE_GATES)])
def test_gates_from_prompts_point_where_the_base_puts_them(dense: Path, tmp_path: Path, gate: str) -> None:
    folder = dense / "mistral"
    experts = [
        {"source_model": str(folder / f"tuned{number}"), **prompts} for number, prompts in enumerate(PROMPTS, start=1)
    ]
    recipe = {"base_model": str(folder / "base"), "gate_mode": gate, "dtype": "float32", "experts": experts}
    out = _written(tmp_path, recipe)
    tensors = loaded(out)
    for layer in range(2):
        expected = torch.stack([_expected(folder / "base", gate, layer, prompts) for prompts in PROMPTS])
        got = tensors[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5)
    assert _logits("MixtralForCausalLM", out).isfinite().all()


def _expected(base: Path, gate: str, layer: int, prompts: dict[str, list[str]]) -> Tensor:
    """The gate in float64, by mergekit's formula, one prompt at a time."""
    model, numbers = _loaded("MistralForCausalLM", base).double(), {word: n + 2 for n, word in enumerate(WORDS)}

    def read(texts: list[str]) -> Tensor:
        pieces = [[0, *(numbers[word] for word in text.split())] for text in texts]
        if gate == "cheap_embed":
            total = sum(model.model.embed_tokens.weight[piece].sum(dim=0) for piece in map(torch.tensor, pieces))
            assert isinstance(total, Tensor)
            return total / total.norm()
        states = [model(torch.tensor([piece]), output_hidden_states=True).hidden_states[layer][0] for piece in pieces]
        rows = [state.mean(dim=0) if gate == "hidden_avg" else state[-1] for state in states]
        return torch.stack(rows).mean(dim=0)

    direction = read(prompts["positive_prompts"])
    if "negative_prompts" in prompts:
        direction = direction - read(prompts["negative_prompts"])
    return (direction / direction.norm()).detach()


@pytest.mark.suite
def test_random_gates_follow_the_seed_and_noise_and_scale_the_recipe(dense: Path, tmp_path: Path) -> None:
    folder = dense / "llama"
    experts: list[Any] = [str(folder / "tuned1"), {"path": str(folder / "tuned2"), "residual_scale": 0.5, "noise": 0.1}]
    recipe = {"base": str(folder / "base"), "experts": experts, "gate": "random", "seed": 3}
    first = loaded(_written(tmp_path, recipe))
    again = loaded(_written(tmp_path, recipe, "--overwrite"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = loaded(_written(tmp_path, {**recipe, "seed": 4}, "--overwrite"))
    gate, down = "model.layers.0.block_sparse_moe.gate.weight", "model.layers.0.block_sparse_moe.experts.1.w2.weight"
    assert not torch.equal(first[gate], other[gate])
    own = loaded(folder / "tuned2")["model.layers.0.mlp.down_proj.weight"]
    noise = first[down] / 0.5 - own
    assert 0.08 < float(noise.std()) < 0.12
    assert not torch.equal(first[down], other[down])


def test_the_record_has_the_recipe_and_a_hash_of_each_expert(dense: Path, tmp_path: Path) -> None:
    folder = dense / "llama"
    recipe = {
        "base": str(folder / "base"),
        "experts": [str(folder / "tuned1"), str(folder / "tuned2")],
        "gate": "random",
    }
    out = _written(tmp_path, recipe)
    record = read_record(out)
    assert [one.path for one in record.inputs] == [str(folder / name) for name in ("base", "tuned1", "tuned2")]
    assert all(one.digest for one in record.inputs)
    assert record.recipe["gate"] == "random" and len(record.recipe["experts"]) == 2
    card = (out / "README.md").read_text()
    assert 'base_model:\n  - "base"\n  - "tuned1"\n  - "tuned2"\n' in card and str(folder) not in card
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"]) == ("mixtral", 2)
    assert (out / "tokenizer.json").is_file()


def test_an_interrupted_mixture_is_continued_for_the_same_gates_alone(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergeometry.encoders.mixtures import write_mixture
    from mergeometry.execution import run
    from mergeometry.execution.run import Interrupted

    folder = dense / "llama"
    recipe = {
        "base": str(folder / "base"),
        "experts": [str(folder / "tuned1"), str(folder / "tuned2")],
        "gate": "random",
    }
    seen: list[str] = []

    def stop(task: Any) -> None:
        seen.append(task.name)
        if len(seen) == 5:
            raise KeyboardInterrupt

    def interrupted(output: Path) -> None:
        seen.clear()
        opened = open_mixture(load_mixture(recipe))
        with pytest.raises(Interrupted):
            write_mixture(opened, output, workers=1, shown=lambda plan: nullcontext(stop))

    computed: list[int] = []
    original = run.run_jobs
    monkeypatch.setattr(run, "run_jobs", lambda jobs, *how: original(_counted(jobs, computed), *how))
    for changes, left in (({}, 5), ({"seed": 9}, 0)):
        output = tmp_path / f"out{left}"
        interrupted(output)
        mg.mixture({**recipe, **changes}, output=output, workers=1, resume=True)
        assert computed[-1] == computed[-2] - left


def _counted(jobs: Any, counts: list[int]) -> Any:
    jobs = list(jobs)
    counts.append(len(jobs))
    return jobs


def test_a_dry_run_writes_nothing_and_runs_no_model(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dense / "mistral"
    entries = [{"path": str(folder / f"tuned{n}"), "prompts": [word]} for n, word in ((1, "red"), (2, "two"))]
    (tmp_path / "recipe.yaml").write_text(json.dumps({"base": str(folder / "base"), "experts": entries}))
    monkeypatch.setattr("mergeometry.encoders.gates.build", lambda *_: pytest.fail("the base was run"))
    result = invoke("mixture", str(tmp_path / "recipe.yaml"), "--dry-run")
    assert result.exit_code == 0 and "2 experts on base: tuned1, tuned2" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gate": "hidden"}, "experts.0.prompts: the gate 'hidden' is made from prompts"),
        ({"experts_per_token": 3}, "experts_per_token: 3 of 2 experts"),
        ({"gates": "random"}, "unknown key 'gates', did you mean 'gate'?"),
        ({"output": {"adapter": True}}, "output.adapter: a mixture is a full model"),
    ],
)
def test_a_recipe_that_is_not_usable_is_refused_by_its_key(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_mixture({"base": "b", "experts": ["c", "d"], "gate": "random", **changes})
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gate_modes": "x"}, "unknown key 'gate_modes', did you mean 'gate_mode'?"),
        ({"experts": [{"source_model": "b", "prompt": ["x"]}]}, "unknown key 'experts.0.prompt'"),
        ({"experts": [{"positive_prompts": ["x"]}]}, "'experts.0.source_model' is missing"),
        ({"architecture": "deepseek"}, "architecture: 'deepseek' is not one of mixtral, qwen, qwen3"),
        ({"shared_experts": [{"source_model": "b"}] * 2}, "shared_experts: no layout has more than one"),
    ],
)
def test_keys_of_mergekit_that_say_nothing_here_are_refused_by_name(changes: dict[str, Any], expected: str) -> None:
    given = {"base_model": "a", "gate_mode": "random", "experts": [{"source_model": "b"}], **changes}
    with pytest.raises(RecipeError) as caught:
        load_mixture(given)
    assert expected in str(caught.value)


def test_models_that_do_not_fit_are_refused(dense: Path) -> None:
    def opened(kind: str, **more: Any) -> None:
        base = str(dense / kind / "base")
        open_mixture(load_mixture({"base": base, "experts": [base, base], "gate": "random", **more}))

    with pytest.raises(MismatchError, match="the models do not fit together") as caught:
        opened("llama", experts=[str(dense / "llama" / "tuned1"), str(dense / "qwen3" / "base")])
    assert "config.json has model_type: qwen3, the base's llama" in str(caught.value)
    with pytest.raises(SourceError, match="every token passes one expert: name it in `shared_expert`"):
        opened("qwen2")
    with pytest.raises(SourceError, match="has no shared expert"):
        opened("qwen3", shared_expert=str(dense / "qwen3" / "base"))
    with pytest.raises(SourceError, match="cannot become a mixture here"):
        opened("qwen3", layout="mixtral")


@pytest.mark.parametrize(
    "gate", ["cheap_embed", *(pytest.param(gate, marks=pytest.mark.suite) for gate in ("hidden", "hidden_avg"))]
)
def test_mergekits_own_mixtures(gate: str, tmp_path: Path) -> None:
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in safetensors.torch.load_file(golden_mixture.FILE).items():
        model, _, key = name.partition("/")
        states.setdefault(model, {})[key] = tensor
    golden_mixture.write({name: states[name] for name in golden_mixture.MODELS}, tmp_path)
    out = loaded(_written(tmp_path, golden_mixture.recipe(tmp_path, gate)))
    # mergekit runs the base in bfloat16, we in float32.
    tolerance = 1e-6 if gate == "cheap_embed" else 2e-2
    for layer in range(golden_mixture.LAYERS):
        prefix = f"model.layers.{layer}"
        own, theirs = out[f"{prefix}.block_sparse_moe.gate.weight"], states[gate][f"{prefix}.mlp.gate.weight"]
        torch.testing.assert_close(own, theirs, rtol=0, atol=tolerance)
        experts = [
            {part: out[f"{prefix}.block_sparse_moe.experts.{expert}.{part}.weight"] for part in ("w1", "w2", "w3")}
            for expert in (0, 1)
        ]
        fused = torch.stack([torch.cat([expert["w1"], expert["w3"]]) for expert in experts])
        assert torch.equal(fused, states["experts"][f"{prefix}.mlp.experts.gate_up_proj"])
        down = torch.stack([expert["w2"] for expert in experts])
        assert torch.equal(down, states["experts"][f"{prefix}.mlp.experts.down_proj"])
