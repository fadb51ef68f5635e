"""Several processes at once, readers included, and limits set by the system."""

import multiprocessing
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mergeometry.errors import OutputError
from mergeometry.sink import Staging, remove_stale
from tests.helpers.sink_run import LAYOUT, FaultyFileSystem, content, run

ROOT = Path(__file__).parents[2]
ROUNDS = 10  # in the run of every day


def compete(folder, factor, barrier, results, rounds):
    for place in range(rounds):
        barrier.wait(30)
        try:
            run(Path(folder) / str(place), FaultyFileSystem(), factor=factor)
        except OutputError as error:
            results.put((place, factor, str(error)))
        else:
            results.put((place, factor, None))


def test_of_two_runs_one_wins_and_the_other_explains(tmp_path):
    race(tmp_path, ROUNDS)


@pytest.mark.torture
def test_fifty_races(tmp_path, record_property):
    race(tmp_path, 50)
    record_property("races", 50)


def race(tmp_path, rounds):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    runs = [
        context.Process(target=compete, args=(str(tmp_path), factor, barrier, results, rounds)) for factor in (1.0, 2.0)
    ]
    for process in runs:
        process.start()
    told = [results.get(timeout=60) for _ in range(2 * rounds)]
    for process in runs:
        process.join(30)
        assert process.exitcode == 0
    references = {}
    for factor in (1.0, 2.0):
        run(tmp_path / f"reference {factor}", FaultyFileSystem(), factor=factor)
        references[factor] = content(tmp_path / f"reference {factor}")
    for place in range(rounds):
        outcomes = {factor: error for number, factor, error in told if number == place}
        winners = [factor for factor, error in outcomes.items() if error is None]
        losers = [error for error in outcomes.values() if error is not None]
        assert len(winners) == 1 and len(losers) == 1
        assert "another run is writing" in losers[0] or "exists already" in losers[0]
        assert content(tmp_path / str(place)) == references[winners[0]]
    assert not list(tmp_path.glob(".*"))


def test_a_live_run_is_never_disturbed(tmp_path):
    with Staging(tmp_path / "out") as staging:
        staging.create(LAYOUT, "first")
        with pytest.raises(OutputError, match="another run is writing the same output"):
            run(tmp_path / "out", FaultyFileSystem(), resume=True)
        with pytest.raises(OutputError, match="another run is writing the same output"):
            remove_stale(tmp_path / "out")
        assert staging.folder.is_dir()


def test_a_reader_never_sees_part_of_a_folder(tmp_path):
    targets, seen, stop = [tmp_path / str(place) for place in range(20)], set(), threading.Event()
    run(tmp_path / "reference", FaultyFileSystem())
    whole = frozenset(content(tmp_path / "reference"))

    def poll():
        while not stop.is_set():
            seen.update(frozenset(found) if (found := content(target)) is not None else None for target in targets)

    reader = threading.Thread(target=poll)
    reader.start()
    for target in targets:
        run(target, FaultyFileSystem())
    stop.set()
    reader.join()
    assert seen == {None, whole}


def test_a_limit_on_file_sizes_is_explained(tmp_path):
    program = f"""
import resource, sys
from pathlib import Path
from tests.helpers.sink_run import SIDECARS, run
from mergeometry.errors import OutputError
from mergeometry.sink import FileSystem
for limit, extra in ((100, 0), (4096, 5000)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    SIDECARS["tokenizer.json"] = bytes(extra)
    try:
        run(Path({str(tmp_path)!r}) / "out", FileSystem())
    except OutputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the file may not grow so large") == 2
    assert done.stdout.count("ulimit -f") == 2 and done.stdout.count("needed") == 2 and done.stdout.count("free") == 2
    assert not (tmp_path / "out").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (resource.RLIM_INFINITY, -1)
