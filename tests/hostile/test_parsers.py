"""Bytes of any kind end in a value or in one clear error; `make fuzz` looks further, and for longer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.forked import finished
from tests.helpers.fuzz_targets import SEEDS, WORDS, prepare
from tests.helpers.whole_merges import note, noted

Record = Callable[[str, object], None]


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_accepted_and_any_bytes_answered(tmp_path: Path, name: str) -> None:
    target = prepare(name, tmp_path)
    assert all(target(seed) for seed in SEEDS[name]), "a fuzzer starts from files that are read"
    pieces = st.sampled_from(
        [*(word.encode() for word in WORDS[name]), b"{", b"}", b"[", b"]", b",", b":", b'"', b"\n"]
    )

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=64) | st.lists(pieces, max_size=30).map(b"".join))
    def answered(data: bytes) -> None:
        target(data)

    answered()


def mutated(seed: bytes, words: tuple[str, ...], chance: random.Random) -> bytes:
    """A file with a few of its bytes flipped, cut, repeated, or replaced by a word of its format."""
    data = bytearray(seed)
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            data[place:place] = data[place : place + chance.randrange(1, 30)]
        else:
            data[place : place + chance.randrange(4)] = chance.choice(words).encode()
    return bytes(data)


def read_many(name: str, folder: Path, count: int, log: Path) -> None:
    target, chance, slowest = prepare(name, folder), random.Random(0), 0.0
    for _ in range(count):
        data = mutated(chance.choice(SEEDS[name]), WORDS[name], chance)
        started = time.process_time()
        target(data)
        slowest = max(slowest, time.process_time() - started)
    note(log, f"slowest {slowest}")


@pytest.mark.torture
@pytest.mark.parametrize("name", SEEDS)
def test_twenty_thousand_mutations(tmp_path: Path, name: str, record_property: Record) -> None:
    count, log = 20_000 if name != "recipe" else 4_000, tmp_path / "log"
    assert finished(read_many, name, tmp_path, count, log) == 0
    (slowest,) = map(float, noted(log, "slowest"))
    assert slowest < 1.0
    record_property("mutated files", count)
    record_property("slowest, milliseconds of processor time", round(1000 * slowest, 1))
