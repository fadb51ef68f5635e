"""Runs one command and writes what it took: ``python timed.py RESULT STDOUT COMMAND...``.

A process of its own, small and without threads, for two reasons: on Linux the peak resident size of a child begins
at what its parent held, and `wait4` counts exactly the one command and what it waited for itself.
"""

import json
import os
import sys
import time


def main() -> None:
    result, output, *command = sys.argv[1:]
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.dup2(sink, 1)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - started
    took = {
        "status": os.waitstatus_to_exitcode(status),
        "wall_s": wall,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    with open(result, "w") as file:  # noqa: PTH123  (pathlib would double what this process holds)
        json.dump(took, file)


main()
