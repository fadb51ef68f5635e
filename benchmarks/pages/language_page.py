"""Writes the figures of language models into docs/language-models.md, between its marks, from the JSON of the runs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between

COMMAND = "python -m benchmarks.studies.language_learning"

Result = Mapping[str, Any]


def write(result: Path, page: Path) -> None:
    """Rewrite every part of the page that comes from the result."""
    found = json.loads(result.read_text("utf-8"))
    text = page.read_text("utf-8")
    for name, lines in (("rows", _rows), ("folders", _folders), ("generations", _generations)):
        text = between(text, name, "\n".join(lines(found)) + "\n", COMMAND)
    page.write_text(text, "utf-8")


def mean(scores: Mapping[str, float]) -> float:
    """Mean over domains of the log perplexity."""
    return sum(scores.values()) / len(scores)


def kept(found: Result, scores: Mapping[str, float]) -> float:
    """Share in % of what the experts gain over the base in mean log perplexity."""
    base, own = mean(found["test"]["base"]), mean(found["test"]["own expert"])
    return 100 * (base - mean(scores)) / (base - own)


def seeds_of(found: Result) -> dict[str, list[Result]]:
    """The learned rows by name, each with its seeds in order."""
    rows: dict[str, list[Result]] = {}
    for name, row in found["learned"].items():
        rows.setdefault(name.rpartition(", seed ")[0], []).append(row)
    return rows


def _rows(found: Result) -> Iterator[str]:
    domains = list(found["test"]["base"])
    yield f"| merge, scale | {' | '.join(domains)} | gain kept | numbers learned | seconds | peak memory |"
    yield "| --- |" + " ---: |" * (len(domains) + 4)
    for name, scores in found["test"].items():
        yield _line(name, [scores], domains, f"{kept(found, scores):.1f} %", ["", "", ""])
    for name, seeds in seeds_of(found).items():
        shares = [kept(found, seed["scores"]) for seed in seeds]
        share = f"{statistics.mean(shares):.1f} ± {_spread(shares):.1f} %"
        cost = [
            f"{seeds[0]['learned_numbers']:,}",
            f"{statistics.mean(seed['seconds'] for seed in seeds):.0f}",
            f"{max(seed['peak_bytes'] for seed in seeds) / 1e9:.1f} GB",
        ]
        yield _line(name, [seed["scores"] for seed in seeds], domains, share, cost)
    yield ""
    about = found["run"]["circumstances"]
    given, seeds = found["settings"], sorted({len(rows) for rows in seeds_of(found).values()})
    rates = "; ".join(
        f"{name}: {', '.join(_rates(rows[0]['section']))}" for name, rows in seeds_of(found).items()
    )  # fmt: skip
    yield (
        f"Perplexities of {given['test']} test texts of each domain, at most 64 tokens each. Learned with "
        f"{given['steps']} steps of {given['batch_size']} texts of each domain, {given['tokens']} tokens each, from "
        f"{given['texts']} training texts, {' or '.join(map(str, seeds))} seeds; ± is the standard deviation over "
        f"seeds. Scales and rates were chosen on {given['validation']} validation texts of each domain, rates by a run "
        f"of {given['trial_steps']} steps with one seed ({rates}). Seconds of processor time on one core, "
        f"without running each expert once over its texts, which all rows share. {about['date']}, "
        f"commit {about['commit']}, {about['machine']['cpu']}, torch {about['versions']['torch']}; "
        "forward passes in bfloat16."
    )


def _rates(section: Result) -> list[str]:
    return [f"{section[key]:g}" for key in ("learning_rate", "rotation_learning_rate") if key in section]


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _line(name: str, scores: Sequence[Mapping[str, float]], domains: Sequence[str], share: str, rest: list[str]) -> str:
    figures = [f"{statistics.mean(math.exp(one[domain]) for one in scores):.1f}" for domain in domains]
    return f"| {' | '.join([name, *figures, share, *rest])} |"


def _folders(found: Result) -> Iterator[str]:
    yield "| recipe | perplexity in memory | of the folder | largest difference | of coefficients | tied output |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for name, row in found["folders"].items():
        memory, folder = row["memory"], row["folder"]
        apart = max(abs(math.expm1(folder[domain] - memory[domain])) for domain in memory)
        figures = [f"{math.exp(mean(memory)):.4f}", f"{math.exp(mean(folder)):.4f}"]
        apart = [_size(apart), _size(row["coefficients_differ"])]
        yield f"| {' | '.join([name, *figures, *apart, 'yes' if row['tied'] else 'no'])} |"


def _size(number: float) -> str:
    return f"{number:.0e}" if number else "0"


def _generations(found: Result) -> Iterator[str]:
    _, row = next(iter(found["folders"].items()))
    for domain, text in row["generated"].items():
        yield f"- *{domain}*: **{_inline(text['prompt'])}**{_inline(text['continuation'])}"


def _inline(text: str) -> str:
    """The text on one line, without characters that Markdown would interpret."""
    shown = " ".join(text.split())
    for mark in "\\`*_[]<>|#":
        shown = shown.replace(mark, f"\\{mark}")
    return f" {shown}" if text[:1].isspace() else shown
