"""Merges scored on labelled tasks without being written: many methods, many scales, one table."""
