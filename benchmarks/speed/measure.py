"""Commands as whole processes, one after another in turn, so that a busy moment of the machine affects all alike."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class CommandFailedError(RuntimeError):
    """A measured command failed."""


@dataclass(frozen=True)
class Limits:
    """Limits at which a command is stopped; that it was stopped is then its result."""

    seconds: float
    own_bytes: int
    """Resident memory that no file backs."""


@dataclass
class Case:
    """One command to measure; ``output`` is removed before every run."""

    name: str
    command: list[str]
    output: Path | None = None
    cold: tuple[Path, ...] = ()
    """Files whose pages are dropped from the system's cache before every run."""
    before: list[str] = field(default_factory=list)
    """A command to run, unmeasured, before every run (and before files are dropped from the cache)."""
    sums_processes: bool = False
    """Whether the command starts processes of its own and prints the sum of all peaks in a run record."""
    limits: Limits | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Medians of the runs, and the runs."""
        return {
            "name": self.name,
            "command": shown(self.command),
            "wall_s": median(run["wall_s"] for run in self.runs),
            "user_s": median(run["user_s"] for run in self.runs),
            "system_s": median(run["system_s"] for run in self.runs),
            "peak_bytes": median(run["peak_bytes"] for run in self.runs),
            "peak_is_sum": self.sums_processes,
            "runs": self.runs,
        }


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def in_turn(cases: Sequence[Case], repeats: int, work: Path) -> None:
    """Run A B C A B C ...: all cases once, then all again; the runs are kept in the cases."""
    for _ in range(repeats):
        for case in cases:
            run = run_once(case, work)
            case.runs.append(run)
            say(f"  {case.name}: {run['wall_s']:.2f} s, {run['peak_bytes'] / 1e9:.2f} GB")


def run_once(case: Case, work: Path) -> dict[str, Any]:
    """Run a case and return wall, user and system seconds, and the peak of resident bytes.

    With limits, also how it ended (``done``, ``time``, ``memory``) and the peak of memory that no file backs, as
    seen twenty times a second.

    Raises:
        CommandFailedError: the command failed of itself.
    """
    if case.output is not None:
        remove(case.output)
    if case.before:
        subprocess.run(case.before, check=True, cwd=ROOT)
    os.sync()  # the pages that an earlier run left to be written are not this one's business
    for file in case.cold:
        drop_from_cache(file)
    work.mkdir(parents=True, exist_ok=True)
    result, printed, complaint = work / "run.json", work / "stdout.txt", work / "stderr.txt"
    limits = case.limits or Limits(0, 0)
    timer = [sys.executable, "-I", "-S", str(Path(__file__).parent / "timed.py"), str(result), str(printed)]
    timer += [str(limits.seconds), str(limits.own_bytes)]
    with complaint.open("wb") as errors:
        subprocess.run(
            [*timer, *case.command], check=True, cwd=ROOT, env={**os.environ, **ONE_THREAD, **OFFLINE}, stderr=errors
        )
    run = json.loads(result.read_text())
    if case.limits is None:
        del run["ended"], run["own_peak_bytes"]
    if run.pop("status") != 0 and run.get("ended", "done") == "done":
        raise CommandFailedError(f"{shown(case.command)}\n{complaint.read_text()[-4000:]}")
    if case.sums_processes:
        run["peak_bytes"] = json.loads(printed.read_text())["totals"]["peak_memory"]
    return run


def printed_json(command: Sequence[str]) -> Any:
    """The JSON that a program of this package prints, run in its own process with one thread."""
    environment = {**os.environ, **ONE_THREAD, **OFFLINE}
    done = subprocess.run(list(command), check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise CommandFailedError(f"{shown(command)}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def program(name: str, *arguments: str | Path) -> list[str]:
    """The command of a program of this package."""
    return [sys.executable, "-m", f"benchmarks.speed.{name}", *(relative(argument) for argument in arguments)]


def merge_command(
    base: Path, models: Sequence[Path], method: str, output: Path, *, workers: int | None, settings: Sequence[str] = ()
) -> list[str]:
    """The command ``mergeometry merge`` of these models; without a number of workers it chooses one."""
    command = [sys.executable, "-m", "mergeometry", "merge", "--base", relative(base)]
    for model in models:
        command += ["--model", relative(model)]
    command += ["--method", method, "--output", relative(output), "--no-report", "--json"]
    command += [] if workers is None else ["--workers", str(workers)]
    for setting in settings:
        command += ["--set", setting]
    return command


def shown(command: Sequence[str]) -> str:
    """A command as one would type it."""
    words = [relative(word) for word in command]
    if words[1:3] == ["-m", "mergeometry"]:
        words = ["mergeometry", *words[3:]]
    words[0] = Path(words[0]).name
    return shlex.join(words)


def relative(path: str | Path) -> str:
    """A path below the repository as seen from there; anything else as it is."""
    text = str(path)
    return text.removeprefix(f"{ROOT}{os.sep}")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def drop_from_cache(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
