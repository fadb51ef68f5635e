"""A page in a real browser: what it said, asked for and tried."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Opened:
    """A page in the browser, and what it said, asked for and tried."""

    def __init__(self, browser: Any, folder: Path, page: str, **context: Any) -> None:
        self.troubles: list[str] = []
        self.requests: list[str] = []
        place = folder / "index.html"
        place.write_text(page, "utf-8")
        self.tab = browser.new_context(**context).new_page()
        self.tab.on("console", lambda message: self.troubles.append(message.text))
        self.tab.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.troubles.append(f"dialog: {dialog.message}"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(place.as_uri())

    def is_quiet(self) -> bool:
        return not self.troubles and len(self.requests) == 1
