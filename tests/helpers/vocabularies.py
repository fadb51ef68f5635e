"""Tiny models of transformers with real tokenizers, whose vocabularies differ, and their merge by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.helpers.tiny import moved

PAGE = """A model learns from examples. Merging models adds what each of them has learned to one base, and the merged
model answers the questions of all. The words of a text are split into tokens, each token has a row in a table, and
the rows of two tables that stand for one token must meet. Where the tables differ in order or in length, rows are
found by their tokens. New tokens such as those of a chat begin and end a turn."""
TOKENS = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4}
ROWS = 127
"""Tokens of the trained vocabularies: a prime, so that no other size of a model is equal."""


def write_tokenizer(
    folder: Path, tokens: dict[str, int] | None = None, template: str | None = None, **more: Any
) -> None:
    """A tokenizer.json of few words, and its settings."""
    vocabulary = tokens or TOKENS
    content = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": vocabulary, **more}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"pad_token": "[PAD]", **({"chat_template": template} if template else {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def bpe(text: str = PAGE, size: int = ROWS) -> Any:
    """A byte-level BPE trained on a page of text, as GPT-2's and Llama 3's are."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    one = tokenizers.Tokenizer(tokenizers.models.BPE())
    one.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    one.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>", "<pad>"])
    one.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=one, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def wordpiece(text: str = PAGE, size: int = ROWS) -> Any:
    """A WordPiece trained on a page of text, as BERT's is."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
               "mask_token": "[MASK]"}  # fmt: skip
    one = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    one.normalizer = tokenizers.normalizers.BertNormalizer()
    one.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    one.train_from_iterator(
        [text], tokenizers.trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(special.values()))
    )
    return PreTrainedTokenizerFast(tokenizer_object=one, **special)


def model_of(kind: str, tokenizer: Any, seed: int = 0) -> Any:
    """A tiny model with a row for each of the tokenizer's tokens."""
    import transformers as t

    torch.manual_seed(seed)
    rows, pad = len(tokenizer), tokenizer.pad_token_id
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": pad}
    if kind == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**small, vocab_size=rows, num_key_value_heads=1, **ends)).eval()
    if kind == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=rows, **ends)).eval()
    if kind == "bert":
        return t.BertForMaskedLM(t.BertConfig(**small, vocab_size=rows, pad_token_id=pad)).eval()
    t5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": pad}
    return t.T5ForConditionalGeneration(t.T5Config(**t5, vocab_size=rows, **ends)).eval()


def fine_tuned(base: Any, tokenizer: Any, added: Sequence[str], seed: int) -> tuple[Any, Any]:
    """The model fine-tuned after tokens were added, as people do it, and its tokenizer."""
    import copy

    tokenizer, model = copy.deepcopy(tokenizer), copy.deepcopy(base)
    tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
    torch.manual_seed(seed)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return moved(model, seed), tokenizer


def saved(folder: Path, model: Any, tokenizer: Any) -> Path:
    """Both in one folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def merged_by_hand(
    inputs: Sequence[tuple[Any, Mapping[str, int]]],
    tokens: Mapping[str, int],
    weights: Sequence[float],
    rows: int,
) -> dict[str, Tensor]:
    """The base plus the weighted task vectors of live models, tables by token: the base's model comes first.

    A token that the base has is the base's where a model lacks it; one that several others have starts from the mean.
    """
    states = [{name: one.double() for name, one in model.state_dict().items()} for model, _ in inputs]
    vocabularies = [vocabulary for _, vocabulary in inputs]
    merged = {}
    for name, base in states[0].items():
        if base.shape[:1] == (len(vocabularies[0]),):
            merged[name] = torch.zeros(rows, *base.shape[1:], dtype=torch.float64)
            for token, row in tokens.items():
                own = [
                    state[name][known[token]] if token in known else None
                    for state, known in zip(states, vocabularies, strict=True)
                ]
                present = [one for one in own if one is not None]
                start = own[0] if own[0] is not None else torch.stack(present).mean(0)
                merged[name][row] = start + sum(
                    weight * ((start if one is None else one) - start)
                    for weight, one in zip(weights, own[1:], strict=True)
                )
        else:
            merged[name] = base + sum(
                weight * (state[name] - base) for weight, state in zip(weights, states[1:], strict=True)
            )
    return merged
