"""What a merge costs, measured as whole processes: ``python -m benchmarks.speed [NAME...] [--quick]``."""
