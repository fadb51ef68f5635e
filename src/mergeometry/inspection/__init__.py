"""Looks at the task vectors of a recipe, before the merge and after it: one pass over all tensors, figures, words.

| file          | what it is for                                                      |
| ------------- | ------------------------------------------------------------------- |
| `measure`     | the figures of one tensor, from its files, in a worker              |
| `cost`        | memory and time of that, beforehand                                 |
| `run`         | all tensors of a plan                                               |
| `result`      | what comes out: plain values, and their JSON                        |
| `totals`      | figures of whole models, of pairs of models, of layers              |
| `verdict`     | what the figures say, in words                                      |
"""
