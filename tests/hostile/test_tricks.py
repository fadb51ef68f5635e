"""Every hostile file of the collection is refused: named, cheaply, with nothing run and nothing published."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.forked import finished
from tests.helpers.hostile import TRICKS, tried
from tests.helpers.whole_merges import note, noted

Record = Callable[[str, object], None]
BYTES = 50_000_000
"""Most memory that a refusal may take."""
SECONDS = 0.05
"""Most time on an idle machine; tests that run beside others allow for more."""


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_by_name(tmp_path: Path, name: str) -> None:
    result, trick = tried(tmp_path, name), TRICKS[name]
    assert result.error is not None and not result.ran and not result.published
    said = str(result.error)
    assert re.search(trick.words, said), said
    assert trick.file in said, said
    assert trick.tensor is None or result.error.tensor == trick.tensor
    assert len(said) < 4_000 and all(line.isprintable() for line in said.split("\n"))
    assert result.seconds < 20 * SECONDS
    assert not list(tmp_path.glob(".out*")), "nothing is left beside the output"


@pytest.mark.suite
def test_no_trick_takes_much_memory(tmp_path: Path) -> None:
    for number, name in enumerate(TRICKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert tried(folder, name, measured=True).peak < BYTES, name


@pytest.mark.torture
def test_no_trick_takes_long(tmp_path: Path, record_property: Record) -> None:
    log = tmp_path / "log"
    assert finished(measure, tmp_path, log) == 0
    seconds, bombs, peaks = (list(map(float, noted(log, kind))) for kind in ("seconds", "bomb", "peak"))
    assert max(peaks) < BYTES
    record_property("hostile files refused", len(seconds))
    record_property("slowest bomb, milliseconds of processor time", round(1000 * max(bombs), 1))
    record_property("largest refusal, megabytes", round(max(peaks) / 1e6, 1))


def measure(folder: Path, log: Path) -> None:
    """The best of three times of each trick, in a process that does nothing else, and its memory."""
    for number, name in enumerate(TRICKS):
        places = [folder / f"{number}.{attempt}" for attempt in range(4)]
        for place in places:
            place.mkdir()
        seconds = min(tried(place, name).seconds for place in places[:3])
        note(log, f"seconds {seconds}")
        if name.startswith("bombs."):
            note(log, f"bomb {seconds}")
        note(log, f"peak {tried(places[3], name, measured=True).peak}")
