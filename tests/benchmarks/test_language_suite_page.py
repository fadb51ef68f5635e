"""The tables of the language model's suite say what its records and its kept result say."""

import json
import re

from benchmarks.studies import language_suite
from mergeometry_suite.language_model.command import list_domains, load_language_expert


def test_the_page_is_as_the_result_is() -> None:
    page = language_suite.PAGE.read_text("utf-8")
    found = json.loads(language_suite.RESULT.read_text("utf-8"))
    assert language_suite.with_tables(page, found) == page, f"run `{language_suite.COMMAND} page`"


def test_every_domain_has_its_row() -> None:
    rows = re.findall(r"^\| (\w+) \|.*\| ([\d.]+) \| ([\d.]+) \| \S+==|^\| (\w+) \|.*\| ([\d.]+) \| ([\d.]+) \| \S+@", (
        language_suite.PAGE.read_text("utf-8").partition("<!-- domains")[2].partition("<!-- end of domains")[0]
    ), re.M)  # fmt: skip
    told = {name: (float(base), float(expert)) for row in rows for name, base, expert in [[x for x in row if x]]}
    assert list(told) == [domain.name for domain in list_domains()]
    for name, ends in told.items():
        scores = load_language_expert(name).provenance["perplexity"]
        assert ends == tuple(round(scores[end]["test"], 1) for end in ("base", "expert"))


def test_every_row_was_measured_on_every_domain() -> None:
    found = json.loads(language_suite.RESULT.read_text("utf-8"))
    assert list(found["rows"]) == ["base", "own expert", *language_suite.MERGES]
    for row in found["rows"].values():
        assert list(row) == [domain.name for domain in list_domains()]
