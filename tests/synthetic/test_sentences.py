"""Public sentences repeat by their seed, and what an expert says of its inputs is summed up."""

from __future__ import annotations

import math

import torch

from mergeometry.synthetic.said import said_of, warnings_of
from mergeometry.synthetic.sentences import public_sentences, sentences


def test_sentences_repeat_by_their_seed() -> None:
    first = sentences(60, 3, "reviews")
    assert first == sentences(60, 3, "reviews") and len(set(first)) == 60 == len(first)
    assert first != sentences(60, 4, "reviews") and first != sentences(60, 3, "news")
    known = public_sentences()
    assert list(known) == sorted(set(known)) and all(len(text.split()) >= 5 for text in known)
    assert len(sentences(10**6, 0)) == len(known)


def test_what_an_expert_says_is_summed_up() -> None:
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    logits[:, 2] = -9.0
    said = said_of(logits)
    probabilities = []
    for row in logits.tolist():
        whole = sum(math.exp(value) for value in row)
        probabilities.append(max(math.exp(value) / whole for value in row))
    zeros = sum(row[0] >= row[1] for row in logits.tolist())
    assert said.classes == (zeros, 40 - zeros, 0)
    assert abs(said.sure - sum(probabilities) / 40) < 1e-9 and abs(said.surest - max(probabilities)) < 1e-9
    assert ["1 of 3 classes" in note for note in warnings_of(said)] == [True]
    assert len(warnings_of(said_of(torch.zeros(2, 3)))) == 2
