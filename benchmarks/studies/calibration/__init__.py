"""Which figures of an inspection predict what a task loses in a merge, and how well (docs/reading-the-report.md)."""
