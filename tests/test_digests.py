"""Digests: what they are computed by, how they are written down, and that records by each are read."""

from __future__ import annotations

import hashlib
import html
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from blake3 import blake3

import mergeometry as mg
from mergeometry.digests import ALGORITHMS, Hash, algorithm_of, digest_of, number_of
from mergeometry.errors import ExecutionError, RecipeError
from mergeometry.inspection.after import report_on
from mergeometry.inspection.difference import difference
from mergeometry.sink import read_record
from tests.helpers import models
from tests.helpers.commands import invoke

DATA = bytes(range(256)) * 5
# The empty input's, from the specifications: FIPS 180-4 and https://github.com/BLAKE3-team/BLAKE3-specs.
EMPTY = {
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_says_its_algorithm_and_does_not_depend_on_the_pieces(algorithm) -> None:
    assert digest_of(b"", algorithm) == f"{algorithm}:{EMPTY[algorithm]}"
    hashed = Hash(algorithm)
    for place in range(0, len(DATA), 100):
        hashed.update(memoryview(DATA)[place : place + 100])
    assert hashed.digest == digest_of(DATA, algorithm)
    assert algorithm_of(hashed.digest) == algorithm
    reference = hashlib.sha256(DATA) if algorithm == "sha256" else blake3(DATA)
    assert number_of(hashed.digest) == reference.hexdigest()


def test_a_text_without_a_known_algorithm_is_no_digest() -> None:
    assert [algorithm_of(text) for text in ("", "sha256", "md5:00", EMPTY["sha256"])] == [None] * 4


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory):
    return models.write_family(tmp_path_factory.mktemp("family"), count=2)


def test_both_algorithms_write_the_same_weights_and_say_which_they_are(family, tmp_path: Path) -> None:
    runs = {
        by: mg.merge({**family, "method": "ties", "output": {"digest": by}}, tmp_path / by, workers=1)
        for by in ALGORITHMS
    }
    one, other = (models.loaded(tmp_path / by) for by in ALGORITHMS)
    assert all(torch.equal(one[name], other[name]) for name in one)
    for by in ALGORITHMS:
        run = runs[by]
        record = read_record(tmp_path / by)
        assert record == run
        told = [run.digest, *(each.digest for each in (*run.inputs, *run.tensors, *run.sidecars.copied))]
        assert {algorithm_of(digest) for digest in told} == {by}
        for tensor in run.tensors:
            data = models.loaded(tmp_path / by)[tensor.name].contiguous().numpy().tobytes()
            assert tensor.digest == digest_of(data, by)
        assert run.digest in html.unescape((tmp_path / by / "README.md").read_text())
        found = report_on(tmp_path / by, workers=1)
        assert not any("changed" in sentence.text for sentence in found.verdict)
        assert [model.digest for model in found.models] == [one.digest for one in run.inputs if one.role != "base"]
    found = difference(tmp_path / "blake3", tmp_path / "sha256")
    assert (found.inputs, found.tensors, found.same, found.distance) == ((), (), len(one), 0.0)
    assert "blake3 and sha256" in found.notes[0]
    assert [change.what for change in found.recipe] == ["output.digest"]


def test_a_changed_output_is_seen_by_either(family, tmp_path: Path) -> None:
    for by in ALGORITHMS:
        mg.merge({**family, "method": "average", "output": {"digest": by}}, tmp_path / by, workers=1)
        tensors = models.loaded(tmp_path / by)
        next(iter(tensors.values())).flatten()[0] += 1
        models.write_model(tmp_path / by, tensors)
        assert any("changed since the merge" in sentence.text for sentence in report_on(tmp_path / by).verdict)
    found = difference(tmp_path / "blake3", tmp_path / "sha256")
    assert found.tensors == () and found.same == 6, "both were changed alike"


def test_a_record_of_schema_1_is_read(family, tmp_path: Path) -> None:
    run = mg.merge({**family, "method": "average", "output": {"digest": "sha256"}}, tmp_path / "out", workers=1)
    path = tmp_path / "out" / "mergeometry.json"
    plain = json.loads(path.read_text())

    def older(value: Any) -> Any:
        if isinstance(value, list):
            return [older(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            "sha256" if key == "digest" else key: number_of(one) if key == "digest" else older(one)
            for key, one in value.items()
        }

    recipe = {**plain["recipe"], "output": {k: v for k, v in plain["recipe"]["output"].items() if k != "digest"}}
    path.write_text(json.dumps({**older(plain), "schema": 1, "recipe": recipe}))
    record = read_record(tmp_path / "out")
    assert (record.digest, record.inputs, record.tensors) == (run.digest, run.inputs, run.tensors)
    assert record.sidecars == run.sidecars
    assert not any("changed" in sentence.text for sentence in report_on(tmp_path / "out", workers=1).verdict)


def test_a_run_resumes_under_its_own_algorithm_and_begins_anew_under_another(family, tmp_path: Path) -> None:
    recipe = {**family, "method": "average"}
    mg.merge(recipe, tmp_path / "whole", workers=1)

    def interrupted(task) -> None:
        if task.name == "layer.0.dense.weight":
            raise KeyboardInterrupt

    for by, again in (("sha256", "sha256"), ("blake3", "sha256"), ("sha256", "blake3")):
        out = tmp_path / f"{by}-{again}"
        with pytest.raises(ExecutionError):
            mg.merge({**recipe, "output": {"digest": by}}, out, workers=1, progress=interrupted)
        run = mg.merge({**recipe, "output": {"digest": again}}, out, workers=1, resume=True)
        assert {algorithm_of(tensor.digest) for tensor in run.tensors} == {again}
        assert {algorithm_of(one.digest) for one in run.inputs} == {again}
        assert models.weight_hashes(out) == models.weight_hashes(tmp_path / "whole")


def test_the_option_sets_the_key_and_an_unknown_algorithm_is_refused(family, tmp_path: Path) -> None:
    words = ["--base", family["base"], *(word for model in family["models"] for word in ("--model", model))]
    done = invoke("merge", *words, "--method", "average", "--digest", "sha256", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert algorithm_of(read_record(tmp_path / "out").digest) == "sha256"
    with pytest.raises(RecipeError, match="digest"):
        mg.merge({**family, "method": "average", "output": {"digest": "md5"}}, tmp_path / "no")
