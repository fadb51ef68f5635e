"""``python -m tools``: write the stubs, docs/api.md and docs/guarantees.md anew."""

from __future__ import annotations

from tools import api_page, guarantees_page, stubs

if __name__ == "__main__":
    for path, text in {**stubs.files(), **api_page.files(), **guarantees_page.files()}.items():
        path.write_text(text, "utf-8")
        print(f"wrote {path}")
