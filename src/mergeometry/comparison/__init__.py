"""Scores merges on labelled tasks without writing them: many methods, many scales, one table."""
