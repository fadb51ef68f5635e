"""Methods compared on the suites: ``python -m benchmarks.leaderboards run BOARD``, and the pages written from it."""
