"""Runs one command and writes what it took: ``python timed.py RESULT STDOUT SECONDS BYTES COMMAND...``.

A process of its own, small and without threads, for two reasons: on Linux the peak resident size of a child begins
at what its parent held, and `wait4` counts exactly the one command and what it waited for itself.

It is also a watchdog: a command that takes longer than SECONDS, or that holds more than BYTES of memory of its own
(not counting files that it maps, which the system may drop at any time), is killed with its group; 0 is no limit.
Watching needs Linux; without limits nothing is watched.
"""

import json
import os
import signal
import sys
import time

EVERY = 0.05
"""Seconds between two checks of the command."""


def main() -> None:
    result, output, seconds, limit, *command = sys.argv[1:]
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    limited = float(seconds) > 0 or int(limit) > 0
    if limited:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # so that its end wakes us at once
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        if limited:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            os.setpgid(0, 0)
        os.dup2(sink, 1)
        os.execvp(command[0], command)
    if limited:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            status, usage, ended, own = watched(child, started, float(seconds), int(limit))
        except BaseException:
            stop(child)
            raise
    else:
        _, status, usage = os.wait4(child, 0)
        ended, own = "done", None
    wall = time.perf_counter() - started
    took = {
        "status": os.waitstatus_to_exitcode(status),
        "ended": ended,
        "wall_s": wall,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "own_peak_bytes": own,
    }
    with open(result, "w") as file:  # noqa: PTH123  (pathlib would double what this process holds)
        json.dump(took, file)


def watched(child, started, seconds, limit):
    """Wait for a command; return its status, its usage, how it ended, and the most memory of its own that was seen."""
    ended, most = "done", 0
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage, ended, most
        held = own_bytes(child)
        most = max(most, held)
        if ended == "done" and limit and held > limit:
            ended = "memory"
            stop(child)
        elif ended == "done" and seconds and time.perf_counter() - started > seconds:
            ended = "time"
            stop(child)
        signal.sigtimedwait({signal.SIGCHLD}, EVERY)


def stop(child):
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)  # between fork and setpgid it is in no group of its own


def own_bytes(process):
    """Resident memory of a process and its children that no file backs; 0 where the system does not report it."""
    found = 0
    try:
        with open(f"/proc/{process}/status") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(("RssAnon:", "RssShmem:")):
                    found += 1024 * int(line.split()[1])
        threads = os.listdir(f"/proc/{process}/task")  # noqa: PTH208
        for thread in threads:
            with open(f"/proc/{process}/task/{thread}/children") as file:  # noqa: PTH123
                found += sum(own_bytes(int(other)) for other in file.read().split())
    except (OSError, ValueError):
        pass
    return found


main()
