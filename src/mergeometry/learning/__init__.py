"""Learning on unlabelled data: what a merge without data leaves to be found, found by looking at inputs alone.

Merging coefficients and a rotation of each task's features are learned against objectives that need no label:
the certainty of predictions, the directions of a simplex, or what each task's own expert says.
"""
