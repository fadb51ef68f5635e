"""Bytes of a file's data that are cut off or flipped: every cut is named, every flip shows in the run record."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import mergeometry as mg
from mergeometry.errors import NumericalError, SourceError
from mergeometry.sink import read_record
from mergeometry.sources import TensorReader, open_checkpoint
from tests.helpers import models

Record = Callable[[str, object], None]
SHAPES = {"layer.0.dense.weight": (40, 30), "layer.0.dense.bias": (40,), "norm.weight": (30,)}


def data_start(file: Path) -> int:
    return 8 + int.from_bytes(file.read_bytes()[:8], "little")


def test_a_cut_at_a_thousand_places_of_the_data(tmp_path: Path, record_property: Record) -> None:
    file = models.write_model(tmp_path, models.random_tensors(0, shapes=SHAPES)) / "model.safetensors"
    whole, chance = file.read_bytes(), random.Random(3)
    before = open_checkpoint(tmp_path, "m")
    places = [chance.randrange(data_start(file), len(whole)) for _ in range(1_000)]
    for place in sorted(places, reverse=True):
        os.truncate(file, place)
        with pytest.raises(SourceError, match="truncated") as caught:
            open_checkpoint(tmp_path, "m")
        assert caught.value.file == str(file) and caught.value.tensor in SHAPES
    # And while it is open: what was read before is not trusted either.
    with TensorReader() as reader, pytest.raises(SourceError) as caught:
        reader.read(before.tensors["norm.weight"])
    assert caught.value.tensor == "norm.weight" and caught.value.file == str(file)
    record_property("cuts", len(places))


def flips(folder: Path, count: int, seed: int) -> int:
    """Merge with one bit of a model's data flipped, again and again; return how many were refused as not finite."""
    inputs = models.write_family(folder, 2, shapes=SHAPES)
    recipe = {**inputs, "method": "average"}
    mg.merge(recipe, folder / "out", workers=1)
    digests = hashes(folder / "out")
    file = Path(inputs["models"][0]) / "model.safetensors"
    start, whole, chance = data_start(file), file.read_bytes(), random.Random(seed)
    info = open_checkpoint(file.parent, "m").tensors
    refused = 0
    for number in range(count):
        shutil.rmtree(folder / "out", ignore_errors=True)
        broken, place = bytearray(whole), chance.randrange(start, len(whole))
        broken[place] ^= 1 << chance.randrange(8)
        file.write_bytes(broken)
        (name,) = [each.name for each in info.values() if each.start <= place < each.start + each.nbytes]
        try:
            mg.merge(recipe, folder / "out", workers=1)
        except NumericalError as error:
            assert error.tensor == name
            refused += 1
            continue
        changed = {key for key, digest in hashes(folder / "out").items() if digests[key] != digest}
        assert ("input", "task0") in changed and changed <= {("input", "task0"), ("output", name)}, number
    return refused


def hashes(output: Path) -> dict[tuple[str, str], str]:
    """What the run record says of every input and of every tensor of the output."""
    record = read_record(output)
    inputs = {("input", source.label): source.digest for source in record.inputs}
    return inputs | {("output", tensor.name): tensor.digest for tensor in record.tensors}


@pytest.mark.suite
def test_a_flip_of_the_data_is_in_the_record(tmp_path: Path) -> None:
    assert flips(tmp_path, 40, 1) < 40


@pytest.mark.torture
def test_a_flip_at_a_thousand_places_of_the_data(tmp_path: Path, record_property: Record) -> None:
    record_property("flips refused as not finite", flips(tmp_path, 1_000, 2))
    record_property("flips", 1_000)


def test_a_file_that_is_cut_while_it_is_merged(tmp_path: Path) -> None:
    inputs = models.write_family(tmp_path, 2, shapes=SHAPES)
    file = Path(inputs["models"][1]) / "model.safetensors"

    def cut(_: object) -> None:
        os.truncate(file, data_start(file) + 8)

    with pytest.raises(SourceError) as caught:
        mg.merge({**inputs, "method": "average"}, tmp_path / "out", workers=1, progress=cut)
    assert caught.value.file == str(file) and caught.value.tensor in SHAPES
    assert not (tmp_path / "out").exists()
