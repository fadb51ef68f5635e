"""How the task vectors of one tensor lie to each other and to their merge, and features of models: pure functions.

| file           | what it measures                                        | source                       |
| -------------- | ------------------------------------------------------- | ---------------------------- |
| `spectra`      | energy kept by rank, effective and stable rank          | Roy and Vetterli 2007        |
| `entries`      | norms, cosines, weighted sign conflicts                 | arXiv 2212.04089, 2306.01708 |
| `products`     | inner products of directions, which the next two share  |                              |
| `angles`       | principal angles and overlap of subspaces               | Bjorck and Golub 1973        |
| `interference` | singular task interference                              | arXiv 2412.00081             |
| `alignment`    | subspace alignment, directional consistency, share held | arXiv 2502.04959, 2603.06242 |
| `accumulation` | over-accumulation by direction                          | arXiv 2602.05536             |
| `frames`       | distance from a simplex, and what lies outside its span | arXiv 2512.00391             |
| `tables`       | rows that only some models moved                        | ours                         |
| `lineage`      | alignment with the base, which tells models of another  | ours                         |
| `kernel_alignment` | similarity of the features of two models            | arXiv 1905.00414, 2010.15327 |
| `collapse`     | neural collapse, NC1 to NC4                             | arXiv 2008.08186             |

Each task vector of a matrix is decomposed once (`linalg.spectrum`), and the functions share the result.
"""
