"""The site names every page, once; pages of the repository become pages of the site; links to elsewhere are whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from tools.site import OUTSIDE, SOURCE, as_site_page

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "suite" / "README.md"]


def named(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            yield from named(value) if isinstance(value, list) else [value]


def test_the_navigation_names_every_page_once() -> None:
    pages = list(named(YAML(typ="safe").load(ROOT / "mkdocs.yml")["nav"]))
    written = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages) == sorted([*written, *OUTSIDE])


def test_the_site_asks_no_other_host() -> None:
    settings = YAML(typ="safe").load(ROOT / "mkdocs.yml")
    assert settings["theme"]["font"] is False  # else a style sheet of Google's
    assert "repo_url" not in settings  # else a call of GitHub's API for stars


@pytest.mark.parametrize(
    ("link", "source", "on_site"),
    [
        ("docs/recipes.md#keys", "README.md", "recipes.md#keys"),
        ("CONTRIBUTING.md", "README.md", "contributing.md"),
        ("pictures/learning.svg", "docs/learning.md", "pictures/learning.svg"),
        ("../README.md", "docs/demo.md", "index.md"),
        ("../examples/first-merge.ipynb", "docs/demo.md", f"{SOURCE}examples/first-merge.ipynb"),
        ("nowhere.md", "README.md", "nowhere.md"),
        ("https://arxiv.org/abs/2203.05482", "README.md", "https://arxiv.org/abs/2203.05482"),
        ("#keys", "docs/recipes.md", "#keys"),
    ],
)
def test_a_link_leads_to_the_same_place_on_the_site(link: str, source: str, on_site: str) -> None:
    assert as_site_page(f"see [this]({link}).", source) == f"see [this]({on_site})."


def test_a_blocks_file_name_becomes_its_title() -> None:
    assert as_site_page("```yaml recipe.yaml\n```\n", "README.md") == '```yaml title="recipe.yaml"\n```\n'


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_elsewhere_are_whole(page: Path) -> None:
    for link in re.findall(r"https?:[^\s)>\"`]*", page.read_text("utf-8")):
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert parts.hostname and "." in parts.hostname, link
        assert not parts.username, link
