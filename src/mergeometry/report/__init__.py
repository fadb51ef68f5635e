"""Pages for people: self-contained HTML from plain values; no torch here."""
