"""An adapter starts as nothing, learns on the attention alone, and keeps its best step."""

from dataclasses import replace
from pathlib import Path

import pytest

from mergeometry.errors import DataError, OutputError
from mergeometry_suite.language_model import command
from mergeometry_suite.language_model.backbone import TOKENS, build_language_model
from mergeometry_suite.language_model.domains import DOMAINS, Texts
from mergeometry_suite.language_model.experts import load_language_expert
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.language_model.train import LINEARS, build_adapter, train_adapter
from mergeometry_suite.minilm import Tokenizer
from tests.helpers.language_domains import ENGLISH, SHORT, texts_of


def few(name: str) -> Texts:
    texts = texts_of(name)
    return Texts(texts.train[:12], texts.validation[:4], texts.test[:4])


def test_a_fresh_adapter_is_on_the_attention_alone_and_changes_nothing(tiny: Path) -> None:
    model = build_adapter(tiny, SHORT)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * len(LINEARS) * 2
    assert all("lora_" in name and "self_attn" in name for name in trained)
    prepared = Tokenizer(tiny, TOKENS).prepare([ENGLISH])
    assert perplexity(model, prepared) == pytest.approx(perplexity(build_language_model(tiny), prepared), rel=1e-6)


def test_a_short_run_learns_and_keeps_its_best_step(tiny: Path) -> None:
    texts = few("messages")
    regime = replace(SHORT, learning_rate=0.05)
    trained = train_adapter(tiny, texts, regime)
    assert [check.step for check in trained.checks] == [2, 4, 6]
    assert trained.best.validation == min(check.validation for check in trained.checks)
    assert trained.checks[-1].loss < trained.checks[0].loss
    kept = perplexity(trained.model, Tokenizer(tiny, TOKENS).prepare(texts.validation))
    assert kept == pytest.approx(trained.best.validation, rel=1e-6, abs=5e-4)
    assert train_adapter(tiny, texts, regime).checks == trained.checks


def test_an_expert_appears_whole_and_is_not_trained_twice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "language_backbone", lambda *_: tiny)
    monkeypatch.setattr(command, "find_domain", lambda name: replace(DOMAINS[name], read=lambda: few(name)))
    messages: list[str] = []
    output = tmp_path / "deep" / "tweets"
    command.train_language_expert("tweets", output, messages.append, regime=SHORT)
    expert = load_language_expert("tweets", output)
    assert expert.provenance["data"]["texts"] == {"train": 12, "validation": 4, "test": 4}
    assert expert.provenance["perplexity"]["expert"]["validation"] == pytest.approx(
        next(c["validation"] for c in expert.provenance["checks"] if c["step"] == expert.provenance["kept_step"]),
        rel=1e-3,  # the file is in 16 bit
    )
    assert [path.name for path in output.parent.iterdir()] == ["tweets"]
    assert any("step 6/6" in message for message in messages)
    weights = (output / "adapter_model.safetensors").read_bytes()
    messages.clear()
    command.train_language_expert("tweets", output, messages.append, regime=SHORT)
    assert messages == ["tweets: already trained"]
    command.train_language_expert("tweets", output, regime=replace(SHORT, seed=1), overwrite=True)
    assert (output / "adapter_model.safetensors").read_bytes() != weights


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not an expert"):
            command.train_language_expert("tweets", tmp_path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_expert_says_how_to_train_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained expert") as caught:
        load_language_expert("tweets", tmp_path)
    assert "mergeometry suite train-language-model tweets" in str(caught.value)
