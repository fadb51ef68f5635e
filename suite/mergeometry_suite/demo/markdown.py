"""The leaderboard as a Markdown table, for a README that quotes no figure by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergeometry_suite.demo.leaderboard import Leaderboard


def leaderboard_markdown(board: Leaderboard) -> str:
    """One row a method, between the experts and the base, and a sentence of who wins by how much."""
    count = len(board.tasks)
    lines = [
        "| method | gain kept, % | behind the first | mean accuracy, % | scale | kept at 1, % | seconds | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| *experts, each on its own task* | 100 | | {100 * sum(board.experts.values()) / count:.1f} | | | | |",
        *(
            f"| `{row.name}` | {100 * row.at_best.gain_kept:.0f} ± {100 * row.at_best.spread:.0f} "
            f"| {100 * row.behind:.0f} ± {100 * row.behind_spread:.0f} "
            f"| {100 * row.at_best.mean:.1f} | {row.best_scale:g} | {100 * row.at_one.gain_kept:.0f} "
            f"| {row.seconds:.1f} | {row.peak_memory / 1e6:.0f} |"
            for row in board.rows
        ),
        f"| *base with the experts' heads* | 0 | | {100 * sum(board.base.values()) / count:.1f} | | | | |",
    ]
    winner, close = board.rows[0], [f"`{row.name}`" for row in board.within_noise()]
    beside = (
        f"Not told apart from it (two ±): {', '.join(close)}."
        if close
        else "All others are told apart from it (two ±)."
    )
    return "\n".join(lines) + (
        f"\n\n{count} experts, {board.texts['test']} test texts; scales chosen on {board.texts['validation']} "
        f"validation texts; ± is the standard deviation over resampled test texts, one training seed. "
        f"`{winner.name}` keeps most. {beside}\n"
    )
