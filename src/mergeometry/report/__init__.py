"""Pages for people: self-contained HTML from plain values, without torch."""
