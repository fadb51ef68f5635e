"""Merges full models by FusionBench, whole process: run by the interpreter of FusionBench's own environment.

``python benchmarks/speed/fusion_bench_driver.py METHOD OUTPUT BASE MODEL...``

What is measured is the library's own: a public algorithm class, imported alone, and its `BaseModelPool`, which loads
each model when the algorithm asks for it, by the constructor that the pool's configuration names (`AutoModel` of
transformers, as in the library's own configurations). The result is written by transformers' `save_pretrained`. Its
command line runs the same classes once it has composed its configuration; leaving that out is to its favour.
"""

import argparse

import torch
from fusion_bench import BaseModelPool, method

EMBEDDINGS = [f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")]
"""Tables that are not linear maps: averaged, as we do; otherwise it would decompose the whole vocabulary."""

ALGORITHMS = {
    "average": ("SimpleAverageAlgorithm", {}),
    "task_arithmetic": ("TaskArithmeticAlgorithm", {"scaling_factor": 1.0}),
    "ties": ("TiesMergingAlgorithm", {"scaling_factor": 1.0, "threshold": 20, "remove_keys": [], "merge_func": "mean"}),
    "iso_c": ("ISO_C_Merge", {"scaling_factor": 1.0, "exclude_keys": EMBEDDINGS}),
    "tsv_m": ("TaskSingularVectorMerging", {"alpha": 1.0, "exclude_keys": EMBEDDINGS}),
}
"""Its classes, with the parameters that make them the same method as ours; the threshold is a percentage."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=ALGORITHMS)
    parser.add_argument("output")
    parser.add_argument("base")
    parser.add_argument("models", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # A pooler that is not on disk would be initialised at random for each model.
    made = {"_target_": "transformers.AutoModel.from_pretrained", "add_pooling_layer": False}
    paths = {"_pretrained_": given.base, **{f"task{number}": path for number, path in enumerate(given.models)}}
    pool = BaseModelPool({name: {**made, "pretrained_model_name_or_path": path} for name, path in paths.items()})
    name, parameters = ALGORITHMS[given.method]
    getattr(method, name)(**parameters).run(pool).save_pretrained(given.output)


main()
