"""What a merge costs, measured as whole processes: ``python -m benchmarks [NAME...] [--quick]``."""
