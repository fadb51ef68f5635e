"""What models do on inputs: agreement with the experts, entropy, similarity of features, neural collapse.

| file         | what it is for                                                           |
| ------------ | ------------------------------------------------------------------------ |
| `tasks_file` | which inputs and heads: a file of tasks, or the recipe's own             |
| `load`       | reads them, with every problem at once                                   |
| `estimate`   | memory and time beforehand, from headers                                 |
| `layers`     | features after each layer of a model that runs                           |
| `answers`    | one model on one task's inputs: predictions, entropy, Gram matrices      |
| `shares`     | intervals of a share                                                     |
| `figures`    | two models' answers against the expert's                                 |
| `run`        | all of it, for a plan or for the output of a merge                       |
| `report`     | the same from tasks as a user gives them                                 |
| `words`      | what the figures say, in a sentence or two of the verdict                |

The definitions are pure functions in `diagnostics`; the results are plain values of `inspection`.
"""
