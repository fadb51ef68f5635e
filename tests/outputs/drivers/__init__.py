"""Scripts for the interpreters of those environments: each makes models, or compares a merge with the live models."""
