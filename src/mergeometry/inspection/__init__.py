"""Looks at the task vectors of a recipe, before the merge and after it: one pass over all tensors, figures, words.

| file          | what it is for                                                      |
| ------------- | ------------------------------------------------------------------- |
| `measure`     | the figures of one tensor, from its files, in a worker              |
| `pieces`      | the same for tensors that are not matrices, some entries at a time   |
| `cost`        | memory and time of that, beforehand                                 |
| `run`         | all tensors of a plan                                               |
| `result`      | what comes out: plain values, and their JSON                        |
| `on_inputs`   | what models do on inputs, as plain values (measured by `feature_figures`) |
| `after`       | what became of the models in a merge that is done                   |
| `difference`  | what changed between two runs                                       |
| `totals`      | figures of whole models, of pairs of models, of layers              |
| `verdict`     | what the figures say, in words                                      |
| `advice`      | what to take for such models, in words                              |
| `losses`      | what each task is estimated to have lost in a merge, in words       |
| `prediction`  | what the project's boards showed, as constants that a study writes  |
"""
