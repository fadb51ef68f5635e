"""Learning on unlabelled data: the parameters that a merge without data leaves open, learned from inputs alone.

Merging coefficients and a rotation of each task's features are learned with objectives that need no label: the
certainty of predictions, the directions of a simplex, or the outputs of each task's own expert.
"""
