"""Pure tensor mathematics: no tensor names, no files, no methods.

Everything here computes in float64, on one thread, and returns the same bits for the same input.
"""
