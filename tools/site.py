"""Turn the repository's Markdown into pages of the site: a hook of MkDocs (mkdocs.yml), and the text work behind it.

The pages are written to be read on GitHub as well. Three things differ there: a file name after a block's language,
folded blocks, and links that leave docs/.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = "https://github.com/mergeometry/mergeometry/blob/main/"

# Pages that stand outside docs/, by their place in the site.
OUTSIDE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}

_NAMED_BLOCK = re.compile(r"^```(\w+) ([\w.-]+)$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def as_site_page(text: str, source: str) -> str:
    """Rewrite the Markdown of the repository's file ``source`` for the site.

    A link to a page becomes a link inside the site, a link to any other file one to the repository. A link that leads
    nowhere stays as it is, for the strict build to refuse.
    """
    text = _NAMED_BLOCK.sub(r'```\1 title="\2"', text).replace("<details>", '<details markdown="1">')
    return _LINK.sub(lambda link: _target(link[1], source), text)


def _target(link: str, source: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    for page, outside in OUTSIDE.items():
        if path == outside:
            return page
    return SOURCE + path if (ROOT / path).exists() else link


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that stand outside docs/."""
    from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports]  # noqa: PLC0415  (extra `docs`)

    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Rewrite a page as it is read."""
    uri = page.file.src_uri
    return as_site_page(markdown, OUTSIDE.get(uri, f"docs/{uri}"))
