"""What a model writes is what transformers writes from its folder, and repetition is counted as it is defined."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.generation import PROMPT, WRITTEN, continue_greedily
from mergeometry.comparison.read_inputs import TEST, read_splits
from mergeometry.comparison.repetition import distinct_share, repeated_share
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import DataError, MergeometryError
from mergeometry.sources import open_checkpoint
from tests.helpers import learning_models

TASKS = ("task0", "task1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two fine-tunes, their merge in ``merged``, and tasks of texts of 16 to 40 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("writing")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    learning_models.save_base(model, folder / "base")
    tasks = []
    for number, name in enumerate(TASKS):
        learning_models.save_tuned(model, folder / name, number, size=0.5)
        draw = torch.Generator().manual_seed(number)
        lengths = torch.randint(16, 40, (30,), generator=draw).tolist()
        texts = [" ".join(f"w{n}" for n in torch.randint(2, 38, (k,), generator=draw).tolist()) for k in lengths]
        place = folder / f"{name}.jsonl"
        place.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        tasks.append({"name": name, "test": place.name})
    (folder / "tasks.yaml").write_text(json.dumps({"encoder": {"kind": "causal", "max_length": 64}, "tasks": tasks}))
    models = [str(folder / name) for name in TASKS]
    recipe = {"base": str(folder / "base"), "models": models, "method": "task_arithmetic", "scale": 0.5}
    mg.merge(recipe, folder / "merged", workers=1)
    return folder


def judge_of(folder: Path, tasks: Path) -> Scorer:
    base, given = open_checkpoint(folder, "the model"), load_tasks(tasks)
    splits, problems, _ = read_splits(given, base, {TEST: [task.name for task in given.tasks]})
    assert not problems
    return Scorer(base, given.encoder, splits)


def written_by_transformers(folder: Path, prompts: list[list[int]], most: int) -> list[list[int]]:
    """One prompt at a time, through ``from_pretrained`` and ``generate`` alone."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    end = model.generation_config.eos_token_id
    found = []
    for prompt in prompts:
        with torch.no_grad():
            whole = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=most, do_sample=False, pad_token_id=0,
            )[0].tolist()  # fmt: skip
        own = whole[len(prompt) :]
        found.append(own[: own.index(end)] if end in own else own)
    return found


# ------------------------------------------------------------------------------------------------- repetition


def test_repetition_of_texts_that_can_be_counted_by_hand() -> None:
    # Runs of two in 1 2 1 2 1: 12 21 12 21, two of four seen before; in 1 2 3: none of two.
    assert repeated_share([[1, 2, 1, 2, 1], [1, 2, 3]], n=2) == pytest.approx((2 / 4 + 0) / 2)
    # Together six runs: 12 21 12 21 12 23, of which 12, 21 and 23 are different.
    assert distinct_share([[1, 2, 1, 2, 1], [1, 2, 3]], n=2) == pytest.approx(3 / 6)
    assert repeated_share([[5] * 32]) == pytest.approx(28 / 29)
    assert repeated_share([[1, 2, 3], []]) is None
    assert distinct_share([[1], []]) is None
    # Every answer is varied in itself, and all are the same.
    assert repeated_share([list(range(9))] * 4) == 0
    assert distinct_share([list(range(9))] * 4) == pytest.approx(1 / 4)


# ------------------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize("name", ["base", "merged"])
def test_continuations_are_those_of_transformers(folder: Path, name: str) -> None:
    scorer = judge_of(folder / name, folder / "tasks.yaml")
    prompts = [list(item[:PROMPT]) for item in scorer.inputs(TEST, "task0").items[:8]]
    found = continue_greedily(scorer, prompts, WRITTEN)
    assert found == written_by_transformers(folder / name, prompts, WRITTEN)
    assert {len(text) for text in found} == {WRITTEN}
    assert len({tuple(text) for text in found}) > 1


def test_an_end_of_text_ends_a_continuation_and_no_other(folder: Path, tmp_path: Path) -> None:
    scorer = judge_of(folder / "merged", folder / "tasks.yaml")
    prompts = [list(item[:PROMPT]) for item in scorer.inputs(TEST, "task0").items[:8]]
    free = continue_greedily(scorer, prompts, WRITTEN)
    end = next(text[5] for text in free if text[5] not in text[:5])
    scorer.encoder.module.generation_config.eos_token_id = end
    found = continue_greedily(scorer, prompts, WRITTEN)
    assert found == [text[: text.index(end)] if end in text else text for text in free]
    assert len({len(text) for text in found}) > 1
    scorer.encoder.module.generation_config.eos_token_id = [end, 39]
    assert continue_greedily(scorer, prompts, WRITTEN) == [
        text[: min((text.index(one) for one in (end, 39) if one in text), default=WRITTEN)] for text in free
    ]


def test_found_tokens_are_those_that_transformers_finds_likeliest(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    scorer = judge_of(folder / "merged", folder / "tasks.yaml")
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float64).eval()
    right, count, shares = 0, 0, []
    for item in scorer.inputs(TEST, "task1").items:
        with torch.no_grad():
            likeliest = model(torch.tensor([item])).logits[0, :-1].argmax(-1)
        own = int((likeliest == torch.tensor(item[1:])).sum())
        shares.append(own / (len(item) - 1))
        right, count = right + own, count + len(item) - 1
    assert right
    likelihoods, found = scorer.next_tokens(TEST, "task1")
    assert found == pytest.approx(shares)
    assert likelihoods == scorer.scores(TEST, ["task1"])["task1"]
    scored = evaluate(folder / "merged", load_tasks(folder / "tasks.yaml"), generate=True)
    assert scored.generation is not None
    assert scored.generation["task1"].found == pytest.approx(right / count)
    assert scored.tasks == evaluate(folder / "merged", load_tasks(folder / "tasks.yaml")).tasks


# -------------------------------------------------------------------------------------------------- the command


def test_the_command_tells_both_in_json_and_in_a_table(folder: Path) -> None:
    command = ["evaluate", str(folder / "merged"), "--tasks", str(folder / "tasks.yaml"), "--generate"]
    ran = CliRunner().invoke(app, [*command, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert set(told["generation"]) == set(TASKS)
    scorer = judge_of(folder / "merged", folder / "tasks.yaml")
    for task, one in told["generation"].items():
        texts = [list(item) for item in scorer.inputs(TEST, task).items][: one["prompts"]]
        assert one["prompts"] == 24
        written = written_by_transformers(folder / "merged", [text[:PROMPT] for text in texts], WRITTEN)
        real = [text[PROMPT : PROMPT + WRITTEN] for text in texts]
        for kind, own in (("written", written), ("real", real)):
            assert one[kind]["repeated"] == pytest.approx(repeated_share(own))
            assert one[kind]["distinct"] == pytest.approx(distinct_share(own))
            assert one[kind]["tokens"] == pytest.approx(sum(map(len, own)) / len(own))
        assert one["real"]["repeated"] < one["written"]["repeated"]  # texts by chance, and a model that loops
        assert 0 < one["spread"] < 0.2
        assert math.isfinite(told["tasks"][task])
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    assert "distinct" in shown.output


def test_without_asking_nothing_is_written(folder: Path) -> None:
    assert evaluate(folder / "base", load_tasks(folder / "tasks.yaml")).generation is None


def test_texts_no_longer_than_a_prompt_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"text": "w1 w2 w3 w4"}\n')
    tasks = {"encoder": {"kind": "causal"}, "tasks": [{"name": "short", "test": str(tmp_path / "short.jsonl")}]}
    with pytest.raises(DataError, match="no text has 16 tokens"):
        evaluate(folder / "base", load_tasks(tasks), generate=True)


def test_an_encoder_writes_nothing(tmp_path: Path) -> None:
    recipe = learning_models.family(tmp_path)
    texts = recipe["adapt"]["tasks"][0]
    (tmp_path / "test.jsonl").write_text('{"text": "w1 w2 w3", "label": 0}\n')
    tasks = {"tasks": [{"name": "task0", "head": texts["head"], "test": str(tmp_path / "test.jsonl")}]}
    with pytest.raises(MergeometryError, match="only texts of causal language models"):
        evaluate(Path(recipe["base"]), load_tasks(tasks), generate=True)
