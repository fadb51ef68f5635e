"""Runs mergekit on a list of recipes in one process: for the interpreter of mergekit's own environment.

``python benchmarks/studies/mergekit_driver.py LIST.json``, a list of ``{"recipe": {...}, "output": "folder"}``. Each is
merged as ``mergekit-yaml`` merges it; one process saves importing torch and transformers for every one.
"""

import json
import sys
from pathlib import Path

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions


def main():
    for case in json.loads(Path(sys.argv[1]).read_text()):
        # The models have no tokenizer; mergekit would create one and write it.
        options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0)
        run_merge(MergeConfiguration.model_validate(case["recipe"]), out_path=case["output"], options=options)


if __name__ == "__main__":
    main()
