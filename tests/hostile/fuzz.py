"""``make fuzz``: atheris mutates the files that parsers read, led by the lines of our code that each input reaches.

``python -m tests.hostile.fuzz [SECONDS]`` divides the time among the parsers; one that fails leaves its input behind.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mergeometry"]):
    from tests.helpers.fuzz_targets import SEEDS, WORDS, prepare

_SECONDS = 1800
_SLOWEST = 10
"""Seconds after which an input counts as hanging: instrumented code is several times slower than it is."""
_RUNS = re.compile(r"Done (\d+) runs")


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one parser in this process, which ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="mergeometry-fuzz-"))
    corpus, files = folder / "corpus", folder / "files"
    corpus.mkdir()
    files.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f"{_quoted(word)}\n" for word in WORDS[name]))
    target = prepare(name, files)
    options = [f"-max_total_time={seconds}", f"-timeout={_SLOWEST}", "-max_len=4096", f"-dict={words}", "-verbosity=0"]
    options += ["-print_final_stats=1", "-rss_limit_mb=4096", f"-artifact_prefix=fuzz-{name}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: target(data) and None)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'


def main(seconds: int) -> None:
    """Fuzz each parser in a process of its own, and print how many inputs it read."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"commit {commit}, {seconds} seconds", flush=True)
    for name in SEEDS:
        command = [sys.executable, "-m", "tests.hostile.fuzz", name, str(max(1, seconds // len(SEEDS)))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: a parser fell over\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
        counts = re.findall(r"number_of_executed_units: (\d+)", done.stderr + done.stdout) or _RUNS.findall(done.stderr)
        print(f"{name}: {int(counts[0]):,} inputs, none uncaught", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in SEEDS:
        fuzz(sys.argv[1], int(sys.argv[2]))
    main(int(sys.argv[1]) if sys.argv[1:] else _SECONDS)
