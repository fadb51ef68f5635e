"""Axes put figures where they belong, ticks are round, and what a picture is given cannot leave its text."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from mergeometry.report.chart import Axis, Tick, frame, interval, picture, text, upright, written

SPACE = "{http://www.w3.org/2000/svg}"


def test_places_are_in_proportion_to_figures_or_to_their_logarithms() -> None:
    plain, logarithmic = Axis(0, 10, 100, 200), Axis(1, 100, 0, 200, logarithmic=True)
    assert [plain.place(value) for value in (0, 2.5, 10, 12)] == [100, 125, 200, 220]
    assert [logarithmic.place(value) for value in (0.1, 1, 10, 100)] == [-100, 0, 100, 200]
    upwards = Axis(0, 10, 200, 100, room=0.1)
    assert upwards.place(5) == 150 and 100 < upwards.place(10) < upwards.place(0) < 200
    assert (upwards.least, upwards.most) == (100, 200)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_single_figure_stands_in_the_middle_with_the_others_on_their_sides(logarithmic: bool) -> None:
    axis = Axis(3, 3, 200, 100, logarithmic=logarithmic)
    assert axis.place(3.3) < axis.place(3) == 150 < axis.place(2.7)


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "most", "words"),
    [
        (83.9, 90.6, False, 10, ["84", "85", "86", "87", "88", "89", "90"]),
        (0.012, 0.0145, False, 6, ["0.0120", "0.0125", "0.0130", "0.0135", "0.0140", "0.0145"]),
        (21.0, 24.0, True, 10, ["21.0", "21.5", "22.0", "22.5", "23.0", "23.5", "24.0"]),
        (0.3, 25, True, 6, ["0.5", "1", "2", "5", "10", "20"]),
        (0.3, 700, True, 6, ["1", "10", "100"]),
        (1, 1e12, True, 6, ["1", "1000", "1e+06", "1e+09", "1e+12"]),
    ],
)
def test_ticks_are_round_and_no_more_than_asked_for(
    low: float, high: float, logarithmic: bool, most: int, words: list[str]
) -> None:
    ticks = Axis(low, high, 0, 100, logarithmic=logarithmic).ticks(most)
    assert [tick.text for tick in ticks] == words
    for tick in ticks:
        assert math.isclose(float(tick.text), tick.value) and low <= tick.value * (1 + 1e-9) <= high * (1 + 1e-8)


def test_ticks_without_room_give_way_to_earlier_ones() -> None:
    axis = Axis(0.1, 10, 0, 100, logarithmic=True)
    ticks = [Tick(value, str(value)) for value in (1.0, 0.9, 10.0, 0.1, 5.0)]
    assert [tick.value for tick in axis.spaced(ticks, 20)] == [1.0, 10.0, 0.1]


def test_words_stay_words() -> None:
    root = picture(200, 100, 'a "title" & <more>')
    axis = Axis(1, 2, 10, 190)
    frame(root, axis, Axis(1, 2, 90, 10), [Tick(1, "</svg><script>alert(1)</script>")], [])
    text(root, 5, 5, "null \x00 and bell \x07", upwards=True)
    found = ElementTree.fromstring(written(root))
    assert found.get("aria-label") == 'a "title" & <more>'
    assert [one.text for one in found.iter(f"{SPACE}text")] == ["</svg><script>alert(1)</script>", "null   and bell  "]
    assert not list(found.iter(f"{SPACE}script"))


def test_an_interval_spans_its_ends_and_an_upright_the_whole_chart() -> None:
    root = picture(200, 100, "intervals")
    interval(root, 20, 60, 50, "#000000")
    upright(root, Axis(0, 1, 90, 10), 40, "<base>")
    found = ElementTree.fromstring(written(root))
    assert [path.get("d") for path in found.iter(f"{SPACE}path")] == ["M20 50H60M20 47V53M60 47V53", "M40 10V90"]
    (name,) = found.iter(f"{SPACE}text")
    assert (name.text, name.get("x"), name.get("y")) == ("<base>", "40", "5")
