"""Reads every byte of the inputs and writes a file of a given size: the least that every merge has to do.

``python benchmarks/speed/raw_io.py THREADS OUTPUT BYTES INPUT...``: `pread` into one buffer a thread, `write`, one
`fsync`.
"""

import os
import sys
import threading

PIECE = 1 << 23


def read_and_write(inputs: list[str], output: int, first: int, last: int) -> None:
    buffer = memoryview(bytearray(PIECE))
    for name in inputs:
        source = os.open(name, os.O_RDONLY)
        place = 0
        while count := os.preadv(source, [buffer], place):
            place += count
        os.close(source)
    place = first
    while place < last:
        place += os.pwrite(output, buffer[: last - place], place)


def main() -> None:
    threads, target, size, *inputs = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
    output = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    bounds = [size * number // threads for number in range(threads + 1)]
    work = [
        threading.Thread(target=read_and_write, args=(inputs[number::threads], output, *bounds[number : number + 2]))
        for number in range(threads)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    os.fsync(output)
    os.close(output)


main()
