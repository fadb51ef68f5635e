"""What a user may have meant, and what the search for it costs."""

from __future__ import annotations

import string

import pytest

from mergeometry.words import comparable, nearest, nearest_of


def test_the_nearest_word_is_named() -> None:
    known = ["scale", "seed", "output"]
    assert nearest("sclae", known) == ", did you mean 'scale'?"
    assert nearest("zzz", known) == "; known: scale, seed, output"
    assert nearest_of("sed", known).startswith("did you mean 'seed'?")


def test_of_very_many_words_those_of_about_the_length_are_compared() -> None:
    """A file may hold hundreds of thousands of names, and each comparison is quadratic in their letters."""
    known = [f"model.layers.{layer}.{'x' * (layer % 150)}" for layer in range(20_000)]
    words = comparable("model.layers.7.weight", [*known, "model.layers.7.weigth"])
    assert len(words) == 300 and "model.layers.7.weigth" in words
    assert (
        nearest("model.layers.7.weight", [*known, "model.layers.7.weigth"]) == ", did you mean 'model.layers.7.weigth'?"
    )


@pytest.mark.parametrize("letters", [201, 100_000])
def test_a_long_text_is_compared_with_nothing(letters: int) -> None:
    text = (string.ascii_lowercase * (letters // 26 + 1))[:letters]
    assert comparable(text, [text]) == [] and comparable("short", [text]) == []
    assert nearest(text, ["scale"]) == "; known: scale"
