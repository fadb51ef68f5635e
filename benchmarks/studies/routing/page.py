"""Writes what routers keep into docs/residuals.md, between its marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean, stdev
from typing import Any

from benchmarks.pages.marks import between

ARMS = {
    "by name": "by name",
    "128 inputs": "a router, 128 inputs per task",
    "32 inputs": "a router, 32 inputs per task",
    "8 inputs": "a router, 8 inputs per task",
    "directions": "no data: input directions of the residuals",
    "words": "no data: words that the experts moved",
}


def on_page(text: str, results: Mapping[str, Any], command: str) -> str:
    """The page with the table of these results."""
    return between(text, "routing", "\n".join(_lines(results, command)) + "\n", command)


def _lines(results: Mapping[str, Any], command: str) -> Iterator[str]:
    yield "| experts | residual chosen | tasks found, % | gain kept, % | answers right, head by the router too, % |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for board in results["boards"]:
        name = f"{len(board['base'])} text tasks"
        yield f"| {name} | none: the merged model alone | | {_gain(board, board['merged']):.0f} | |"
        for arm, words in ARMS.items():
            draws = [one for key, one in board["arms"].items() if key == arm or key.startswith(f"{arm}, ")]
            cells = [
                _spread([100 * mean(one["routed"].values()) for one in draws]),
                _spread([_gain(board, one["accuracy"]) for one in draws]),
                _spread([100 * mean(one["both"].values()) for one in draws]),
            ]
            yield f"| {name} | {words} | {' | '.join(cells)} |"
    board = results["boards"][0]
    yield ""
    yield (
        f"Full fine-tunes, residuals of {board['size'].replace('%', ' %')}, up to {board['test']} test texts per task; "
        f"± is the standard deviation over {board['draws']} draws of the inputs. Gain kept is by each task's head. "
        f"`{command}`, {results['date']}; {results['machine']['cpu']}."
    )


def _gain(board: Mapping[str, Any], accuracies: Mapping[str, float]) -> float:
    base, experts = mean(board["base"].values()), mean(board["experts"].values())
    return 100 * (mean(accuracies.values()) - base) / (experts - base)


def _spread(values: list[float]) -> str:
    return f"{mean(values):.0f} ± {stdev(values):.0f}" if len(values) > 1 else f"{values[0]:.0f}"
