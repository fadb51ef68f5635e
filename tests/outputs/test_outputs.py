"""An output loads where its base did, in its own library's environment, and computes what the live models' mean does.

`make test-outputs` runs these; the environments are made on the first run, and the models are random but for MiniLM.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import SHIPPED
from tests.helpers.commands import invoke
from tests.helpers.output_environments import OLD_TRANSFORMERS, SENTENCE_TRANSFORMERS, VISION

pytestmark = pytest.mark.outputs

DRIVERS = Path(__file__).parent / "drivers"
EXACT = 1e-5
"""Largest relative difference of outputs, computed in float32 by two orders of the same sums."""


TRANSFORMERS = (
    "bert", "roberta", "vit", "clip", "dinov2", "llama", "qwen2", "gemma", "t5", "gpt2", "mixtral", "llava",
)  # fmt: skip


def driven(python: str | Path, driver: str, command: str, folder: Path, *names: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, DRIVERS / driver, command, folder, *names],
        check=False, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def merged_by_the_command(place: Path) -> None:
    (place / "recipe.yaml").write_text("base: base\nmodels: [one, two]\nmethod: average\n")
    done = invoke("merge", place / "recipe.yaml", "--output", place / "merged")
    assert done.exit_code == 0, done.output


def check(results: dict[str, Any]) -> None:
    for name, figures in results.items():
        assert figures["size"] > 0, name
        assert figures["error"] <= EXACT, f"{name}: {figures}"
        assert figures["apart"] > 100 * EXACT, f"{name} gives what one of its inputs does: {figures}"


def loads_and_runs(driver: str, folder: Path, maker: str | Path, user: str | Path, *names: str) -> dict[str, Any]:
    made = driven(maker, driver, "make", folder, *names)
    for name in made:
        merged_by_the_command(folder / name)
    results = driven(user, driver, "check", folder, *names)
    assert results.keys() == made.keys()
    check(results)
    return results


def test_sentence_transformers(tmp_path: Path) -> None:
    python = SENTENCE_TRANSFORMERS.python()
    results = loads_and_runs("run_sentence_transformers.py", tmp_path, python, python)
    modules = {name: figures["modules"] for name, figures in results.items()}
    assert modules == {"mean, dense, normalised": 4, "cls": 2, "max, normalised": 3}


def test_trained_adapters_of_minilm_folded_into_it(tmp_path: Path) -> None:
    place = tmp_path / "minilm"
    place.mkdir()
    for name, folder in {"base": backbone(), "one": SHIPPED / "trec", "two": SHIPPED / "movie"}.items():
        (place / name).symlink_to(folder)
    merged_by_the_command(place)
    check(driven(SENTENCE_TRANSFORMERS.python(), "run_sentence_transformers.py", "check", tmp_path, "minilm"))


@pytest.mark.parametrize("library", ["timm", "open_clip"])
def test_vision(library: str, tmp_path: Path) -> None:
    python = VISION.python()
    loads_and_runs(f"run_{library}.py", tmp_path, python, python)


def test_transformers_made_by_a_new_version_load_in_an_old_one(tmp_path: Path) -> None:
    # 4.48 loads no LLaVA that 5.x wrote, neither base nor merge: the names of its vision tower changed.
    names = [name for name in TRANSFORMERS if name != "llava"]
    loads_and_runs("run_transformers.py", tmp_path, sys.executable, OLD_TRANSFORMERS.python(), *names)


def test_a_fine_tune_of_an_old_version_merges_into_a_base_of_a_new_one(tmp_path: Path) -> None:
    driven(sys.executable, "run_transformers.py", "make", tmp_path)
    driven(OLD_TRANSFORMERS.python(), "run_transformers.py", "make", tmp_path / "old")
    for name in TRANSFORMERS:
        shutil.rmtree(tmp_path / name / "one")
        (tmp_path / "old" / name / "one").rename(tmp_path / name / "one")
        merged_by_the_command(tmp_path / name)
    check(driven(sys.executable, "run_transformers.py", "check", tmp_path))


def test_transformers_made_by_an_old_version_load_in_a_new_one(tmp_path: Path) -> None:
    loads_and_runs("run_transformers.py", tmp_path, OLD_TRANSFORMERS.python(), sys.executable)
