"""What scales without labels lose: ``python -m benchmarks.studies.regret`` writes the table of docs/scales.md.

It reads the boards of ``python -m benchmarks.studies.leaderboards`` whose comparison scored rules, and measures
nothing itself. A rule with a constant of its own is a rule like any other here: the constant that would fit a suite
is listed, and what it is worth is reported where it was not fitted, by a comparison of another suite with it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between
from mergeometry.methods import registry

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "leaderboards"
PAGE = ROOT / "docs" / "scales.md"
NAME, COMMAND = "regret", "python -m benchmarks.studies.regret"
NOTHING = "No suite has been compared with `--rules` yet.\n"
UNITS = {"accuracy": "points of mean accuracy", "perplexity": "nats of mean log-loss"}

Found = Mapping[str, Mapping[str, Any]]
"""Suite to its comparison."""


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Every board's comparison that scored rules, by the name of its file; empty where there is no such folder.

    Boards at half a scale complete others for one method, and compare no rules; those of records repeat methods of
    others for a rule that is scored there alone.
    """
    kept = {file.stem: json.loads(file.read_text("utf-8"))["comparison"] for file in sorted(folder.glob("*.json"))}
    return {
        name: _completed(found)
        for name, found in kept.items()
        if found["rules"] and not name.endswith("-half") and "-records" not in name
    }


def _completed(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison with two more rules, whose scores it already has: ``one``, and ``auto``, each method's own rule."""
    rows = []
    for row in comparison["rows"]:
        own = {**row["rules"]}
        own.setdefault("one", {"scale": 1.0, "regret": row["regret_at_one"]})
        rows.append({**row, "rules": own})
    rules = list(dict.fromkeys([*comparison["rules"], "one"]))
    automatic = [f"{registry.find(row['method']['name']).scale_rule} per model" for row in rows]
    if set(automatic) <= set(rules):
        rows = [
            {**row, "rules": {**row["rules"], "auto": row["rules"][own]}}
            for row, own in zip(rows, automatic, strict=True)
        ]
        rules.append("auto")
    return {**comparison, "rows": rows, "rules": rules}


def on_page(page: str, found: Found) -> str:
    """The page with the table of these suites."""
    return between(page, NAME, written(found), COMMAND)


def written(found: Found) -> str:
    """Mean and worst regret of every rule on every suite, the best rule first, and the factor that would fit."""
    if not found:
        return NOTHING
    parts = [_regrets(found, measure) for measure in UNITS if any(own["measure"] == measure for own in found.values())]
    return "\n".join([*parts, _constants(found), _circumstances(found)])


def _regrets(found: Found, measure: str) -> str:
    """Suites of one measure: accuracies and log-losses have no common mean."""
    own = {suite: one for suite, one in found.items() if one["measure"] == measure}
    rules = list(dict.fromkeys(rule for one in own.values() for rule in one["rules"]))
    losses = {rule: {suite: _losses(one, rule) for suite, one in own.items()} for rule in rules}
    # Rules that no method of a suite was scored with come last.
    whole = {rule: [loss for part in losses[rule].values() for loss in part.values()] for rule in rules}
    rules = sorted(rules, key=lambda rule: (not all(losses[rule].values()), _mean(whole[rule])))
    head = [f"rule ({UNITS[measure]} lost)", *own, "all: mean", "worst", "no value"]
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for rule in rules:
        count = sum(len(one["rows"]) for one in own.values() if rule in one["rules"])
        by_suite = [_shown(measure, _mean(list(losses[rule][suite].values()))) for suite in own]
        lines.append(_row([
            f"`{rule}`", *by_suite, _shown(measure, _mean(whole[rule])), _worst(measure, losses[rule]),
            str(count - len(whole[rule]) or ""),
        ]))  # fmt: skip
    return "\n".join(lines) + "\n"


def _constants(found: Found) -> str:
    """The factor with which each rule would match the validated scale: fitted, so it is not a result of its suite."""
    rules = [
        rule for rule in dict.fromkeys(rule for one in found.values() for rule in one["rules"])
        if rule.endswith("per model")
    ]  # fmt: skip
    if not rules:
        return ""
    lines = [
        "The factor that would fit each suite, the geometric mean over methods of validated scale / rule's scale. "
        "It is fitted on that suite's labels, and no figure above uses it:\n",
        _row(["rule", *found]), _row(["---"] + ["---:"] * len(found)),
    ]  # fmt: skip
    lines += [_row([f"`{rule}`", *(_factor(one, rule) for one in found.values())]) for rule in rules]
    return "\n".join(lines) + "\n"


def _factor(comparison: Mapping[str, Any], rule: str) -> str:
    own = [
        row["best_scale"] / row["rules"][rule]["scale"]
        for row in comparison["rows"]
        if rule in row["rules"] and row["rules"][rule]["scale"]
    ]
    return f"{math.exp(sum(map(math.log, own)) / len(own)):.2f}" if own else "–"


def _circumstances(found: Found) -> str:
    suites_read = [
        f"{suite}: {len(one['seen'])} tasks, {len(one['rows'])} methods, "
        f"{sum(one['inputs']['test'][task] for task in one['seen'])} test inputs, "
        f"scales validated on {sum(one['inputs']['validation'].values())}"
        for suite, one in found.items()
    ]
    return (
        f"{'; '.join(suites_read)}. Every rule is scored at its own scale, on the same inputs as the validated one.\n"
    )


def _losses(comparison: Mapping[str, Any], rule: str) -> dict[str, float]:
    """Method to its regret by a rule, where the rule has a value."""
    found = {row["name"]: row["rules"].get(rule, {}).get("regret") for row in comparison["rows"]}
    return {name: regret for name, regret in found.items() if regret is not None}


def _worst(measure: str, losses: Mapping[str, Mapping[str, float]]) -> str:
    every = [(loss, name, suite) for suite, own in losses.items() for name, loss in own.items()]
    if not every:
        return "–"
    loss, name, suite = max(every)
    return f"{_shown(measure, loss)} ({name}, {suite})"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.inf


def _shown(measure: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if measure == "accuracy" else f"{value:.3f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Rewrite the page from the results."""
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), read(RESULTS)), "utf-8")
    print(f"{PAGE}: {', '.join(read(RESULTS)) or 'no suite'}", file=sys.stderr)


if __name__ == "__main__":
    main()
