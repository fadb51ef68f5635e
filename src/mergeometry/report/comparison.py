"""A comparison as a Markdown table, and its figures in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeometry.report.regret import least_regret, regret_tables

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison


def comparison_markdown(comparison: Comparison) -> str:
    """One row per method, between the experts and the base, and the sentences of `summary`."""
    unseen = bool(comparison.unseen)
    head = ["method", "gain kept, %", "behind the first", f"mean {comparison.measure}", "of experts, %", "worst task",
            "scale", "at 1: gain kept, %", "seconds", "memory, MB"]  # fmt: skip
    head += ["unseen tasks, against the base"] if unseen else []
    blank = [""] * (len(head) - 4)
    lines = [
        _row(head),
        _row(["---"] + ["---:"] * (len(head) - 1)),
        _row(["*experts, each on its own task*", "100", "", _mean(comparison, comparison.experts), *blank]),
    ]
    for row in comparison.rows:
        best = row.at_best
        cells = [
            f"`{_plain(row.name)}`", kept(best.gain_kept, best.spread),
            f"{points(comparison, row.behind)} ± {points(comparison, row.behind_spread)}",
            figure(comparison, best.mean), percent(best.normalised),
            f"{_plain(best.worst)} {percent(best.worst_normalised)}",
            f"{row.best_scale:g}", kept(row.at_one.gain_kept, row.at_one.spread), f"{row.seconds:.1f}",
            f"{row.memory / 1e6:.0f}",
        ]  # fmt: skip
        if unseen:
            cells.append(f"{points(comparison, best.unseen_gain)} ± {points(comparison, best.unseen_spread)}")
        lines.append(_row(cells))
    lines.append(_row(["*base*", "0", "", _mean(comparison, comparison.base), *blank]))
    return "\n".join(lines) + "\n\n" + " ".join(summary(comparison)) + "\n" + _regret_markdown(comparison)


def _regret_markdown(comparison: Comparison) -> str:
    """What every rule for the scale loses; empty where none was scored."""
    lines = []
    for table in regret_tables(comparison):
        lines += ["", f"{table.title}, read off the task vectors without labels: regret against the validated scale.",
                  "", _row(["method", *table.rules]), _row(["---"] + ["---:"] * len(table.rules))]  # fmt: skip
        lines += [_row([f"`{_plain(name)}`", *cells]) for name, cells in table.rows]
        lines += [_row(["*mean*", *table.mean]), _row(["*worst*", *table.worst])]
    if lines:
        lines += ["", least_regret(comparison)]
    return "".join(f"{line}\n" for line in lines)


def summary(comparison: Comparison) -> list[str]:
    """Which method keeps most, which ones do not differ from it beyond noise, and what the figures are based on."""
    first, close = comparison.rows[0], [_plain(row.name) for row in comparison.within_noise()]
    counts = {split: sum(tasks[task] for task in comparison.seen) for split, tasks in comparison.inputs.items()}
    if first.at_best.gain_kept is None:
        best = f"The experts gain nothing over the base on these inputs; {_plain(first.name)} has the best mean."
    else:
        share = kept(first.at_best.gain_kept, first.at_best.spread)
        best = f"{_plain(first.name)} keeps most: {share} % of what the experts gain over the base."
    others = f"Not told apart from it (two ±): {', '.join(close)}."
    if not close:
        others = "All others are told apart from it (two ±)." if len(comparison.rows) > 1 else ""
    return [
        best,
        others,
        f"{len(comparison.seen)} tasks, {counts['test']} test inputs; the scale is the best of "
        f"{len(comparison.scales)} on {counts['validation']} validation inputs; "
        "± is the standard deviation over resampled test inputs.",
    ]


def figure(comparison: Comparison, value: float) -> str:
    """An accuracy in percent, or a perplexity."""
    return f"{100 * value:.1f}" if comparison.measure == "accuracy" else f"{value:.2f}"


def points(comparison: Comparison, value: float | None) -> str:
    """A difference of accuracies in points, or of log-losses in nats."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if comparison.measure == "accuracy" else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share in percent; empty where there is none."""
    return "" if value is None else f"{round(100 * value)}"


def kept(share: float | None, spread: float | None) -> str:
    """A share of the gain with its spread, where there are enough inputs to estimate it."""
    if share is None:
        return "–"
    return f"{100 * share:.0f}" + ("" if spread is None else f" ± {100 * spread:.0f}")


def _mean(comparison: Comparison, figures: dict[str, float]) -> str:
    return figure(comparison, comparison.mean_of(figures))


def _plain(name: str) -> str:
    """A name that cannot end its cell or break its row."""
    shown = "".join(letter if letter.isprintable() else " " for letter in name)
    return shown.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
