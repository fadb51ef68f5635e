"""Every architecture that transformers builds tiny, merged and loaded again: the table of docs/architectures.md."""
