"""Writes the page of all results from their JSON; no figure on it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.decompositions_page import decompositions_section
from benchmarks.pages.peer_page import peers_section
from benchmarks.pages.processors import processors_section
from benchmarks.pages.regressions_page import regressions_section
from benchmarks.pages.summary import summary
from benchmarks.pages.table import table

Result = Mapping[str, Any]

HEAD = """# Benchmarks

How long merges take and how much memory, beside mergekit, FusionBench, PEFT and plain programs that do the same.
Written by `python -m benchmarks.speed` (`make bench`) from `benchmarks/results/*.json`; do not edit.

Each command is a whole process, start-up and import included, under one BLAS thread. The commands of a table ran in
turn (A B C A B C ...), and the figures are medians. Seconds are wall-clock time; user and system seconds are those of
all processes of the command. Peak memory is the largest resident size of the process; with several workers, the sum of
the peaks of all processes. Models are synthetic: random weights, task vectors with power-law spectra and a common
part. Ratios carry over to other machines better than seconds do, and still depend on the processor.

Our products and decompositions are those of NumPy's and SciPy's OpenBLAS, those of plain programs and peers torch's.
OpenBLAS chooses its routines by the processor: here those for AVX-512, `SkylakeX`, which torch's library does without
on this processor. Sections that name no routines were measured with `OPENBLAS_CORETYPE=Haswell` in the environment,
whose products take nearly twice as long: their ratios of directional methods are too small.
"""

NOTES = {
    "adapters": """8 adapters stand for dense matrices of 86M parameters, which mergeometry never forms. The full-SVD
side multiplies the factors and decomposes the dense matrices (`benchmarks/speed/full_svd.py`). Both give the same
merged update, ours as an adapter. *In memory* is the method alone, on values that are already read, layer by layer in
turn; ours includes splitting the result into the two factors of an adapter. The *whole command* starts Python and
torch, which takes most of its time, reads the adapters, checks them, hashes them and writes the output durably. The
adapters of the 7B Llama change its 224 matrices; the base is there in headers, since nothing else of it is read.

PEFT's `add_weighted_adapter` merges an adapter's rank of directions in memory (`svd`, `ties_svd`); ours are the same
merges, and `dc_merge`, which PEFT has not (`benchmarks/speed/adapter_peft.py`). `ties` works on dense matrices in both;
ours decomposes them by their leading directions alone.""",
    "full": """The full-SVD side (`benchmarks/speed/full_svd.py`) is a straightforward program: all models in memory,
`torch.linalg.svd` of every task vector in float32, and polar factors in the same way. It neither checks nor hashes
anything. Errors are relative Frobenius norms of the merged update. Where the two differ, the lines against float64 (one
layer's six matrices, full decompositions) show which is closer.""",
    "second": """The same models, one worker, by methods that merge directions. *Alone* keeps nothing; *first* keeps
what it decomposes in an empty folder (`--directions`); *second* finds it there ([merging the same models
again](known-directions.md)), and writes the bytes that *alone* does, which the benchmark checks. `average` is what
reading, hashing, adding and writing take. Processor time is user and system seconds together. What is left of
`dc_merge` is the tasks' coordinates, which depend on its options, and their vote.""",
    "elementwise": """*Read and write* preads every byte of the nine input files into one buffer, writes as many bytes
as the output has, and calls `fsync` once (`benchmarks/speed/raw_io.py`). *Warm* has the inputs in the system's page
cache; *cold* drops them from it before every run, as when models are freshly downloaded or larger than memory. Before
every run of either kind the plain program runs once unmeasured, so that all runs find the memory in the same state. A
merge does more than the plain program that it is measured against: it starts Python and torch, checks that every value
is finite, and hashes every byte read and written. *Start-up* is the same command on as many models of four tensors of
64 entries; the goals are on what a merge takes beside it.""",
    "llama": """A base and three fine-tunes with the shapes of Qwen2.5-0.5B under Llama's names, 494M parameters, tied
tables; `slerp` takes two of the three. Ours runs as the command comes, which gives it a worker for each core, and with
one where a row says so, to the same bytes, both without the page beside the output (`--no-report`); mergekit with its
own command and `dtype: bfloat16`, as its users write it: it computes in bfloat16 where its method does not widen by
itself, ours in float32. The merged updates then differ by what rounding does to random updates of a thirtieth of the
weights: in bfloat16 many entries are equal at a threshold, all of which are kept here;
the ratio of `model_stock` is close to zero for them, and counts as zero here where it is negative. In float32 the
same methods agree to 1e-6 ([coming from mergekit](coming-from-mergekit.md)). `dare_ties` drops entries at random, so
only the sizes of the updates are compared. Inputs are in the system's page cache. mergekit maps them, so that their
pages count towards its resident memory. Ours hashes every byte read and written (BLAKE3), checks every value, and
waits until the output is on the disk. Up to commit b81261f, user and system seconds of a command with workers leave
its workers out.

What was tried and did not help: large pages for tensors' memory (`THP_MEM_ALLOC_ENABLE`: no less system time); an early
start of writing to the disk (`sync_file_range`: the calls take what `fsync` no longer waits for), or of reading
(`posix_fadvise`: no faster from a cold cache); pieces of 65,536 entries, which stay in the second-level cache, or of
262,144 and 524,288 (no less processor time than 131,072); a test of the bits that were read (0.2 ns for each entry,
where the sum of the converted numbers, which are in the cache, takes 0.07); inner products of all pairs as one product
of thin matrices (2.5 ns for each entry of three models, where six separate ones take 1.8), or of blocks that stay in
the second-level cache (1.7 to 2.2, and 1.7 as it is); a third thread that converts what was read while another merges
(a third to two thirds longer on a busy machine: threads that take turns for every piece wait for each other); two or
three tensors at a time in threads of one process (as many seconds: 15,000 times a second one waits for the other's turn
with the interpreter); conversion in the thread that reads (no less time for `model_stock`, a fifth more for `ties`: the
numbers have left the cache by the time they are used); task vectors trimmed and signs elected in blocks that stay in
the second-level cache, by NumPy, or by numexpr in two passes over memory (1.0 to 1.5 ns for each entry, 2 to 7, and 18,
where it takes 0.9 as it is: `python -m benchmarks.speed.elections`); and one reading of tensors of up to 96 MB (a
twelfth less processor time for `ties` of eight ViT-B, for 240 MB more memory). What did: turns between threads for up
to a million entries in place of a quarter of a million, and a test for NaN and infinity of a sum or of inner products,
which show those of every model, in place of a test of each model's entries (both together, on a busy machine: an eighth
less processor time within the process, a quarter less wall time; on an idle one no difference beyond the noise); long
runs of bytes written past the page cache (`O_DIRECT`: the half second per gigabyte that `fsync` waits for afterwards
passes while the merge computes, for the same 0.25 s of a processor; `python -m benchmarks.speed.past_cache`); workers
forked from a process that loads torch while the command plans, in place of processes that load it one by one for every
stage; the sum of `model_stock`'s task vectors, kept from the pass that measures them (a seventh less processor time);
BLAKE3 in place of SHA-256 (3.4 GB/s in place of 1.5); bounds from a sample and one pass that counts above and keeps
between them (2.2 ns for each entry of a task vector) in place of two passes that count digits (6 ns), which had
replaced a partition (7 ns, and a copy); products of bits as integers in place of a choice by booleans (0.4 ns for each
entry in place of 1.2); torch's objects kept out of Python's searches for garbage, the last of which end a process (a
second of the processor for every command); limits of `malloc` that keep what one tensor frees for the next (110,000
page faults in place of 130,000 to 850,000, by chance of where buffers lie, and up to a second of the system's time);
one reading of a tensor whose copies fit in 64 MB, where several passes go over it (a twentieth of the processor time of
`ties` and `karcher`); a partition of the magnitudes between the bounds in place of counts of each, magnitudes of small
tensors held in place of counts of their digits, float32 task vectors formed without copies of the weights, and packages
that answer in C what is asked of them (together 6.0 s of the processor in place of 9.7 for `ties` of eight ViT-B in
float32, on a busy machine); and a thread that reads and hashes the next tensor while one is merged, so that the sample
of its entries comes from memory (as much processor time; what it saves is waiting).""",
    "rotations": """Learning a task's rotation (MDA, Algorithm 2). One step: a batch of 64 features is rotated; then
the alignment loss, the class means, the target (the closest rotation to prototypes times class means) and the distance
to it, the gradient, and Adam; no encoder. Each line of the table is a process of its own with one thread, and the
forms take turns. *Subspace* learns R in the span of prototypes and class means, `2C - 1` dimensions here; *full*
learns all of SO(d), with its target also decomposed in that span; *whole* is full with the target from decompositions
of the `d x d` matrix, exactly as in the formula. Peak memory is what the steps add to what the process held before the
rotation was created (memory freed before that may be reused, a few megabytes; a figure of that size only says that it
is small). The last column is the relative difference of the target from the one decomposed in the subspace.""",
    "suite": """The text suite's eight adapters of rank 16 and its tasks (`mergeometry suite tasks --suite text-8`):
learning of a coefficient for each pair of directions, on 32 texts of each task, and a comparison of two methods at two
scales. The same commands of an earlier commit, which the goals name, ran in turn with ours. The goals are on user and
system seconds together, the least of all runs. Learning computes the same to rounding.""",
    "startup": """Models of MiniLM's shapes, 22.6M parameters in float32, a base and two fine-tunes, whose inputs are in
the system's page cache. The goals are on user and system seconds together. `--help`, `methods` and `plan` import no
torch, NumPy or SciPy; a sum imports no SciPy. What remains of a merge beside `import torch` is Python's, typer's and
pydantic's start, and the merge.

What was tried and did not help: importing torch in a thread while headers are read and the plan is made (its import
holds Python's lock nearly all the time, so that both take as long as one after the other).""",
}


def write_page(results: Path, page: Path, titles: Mapping[str, str]) -> None:
    """Rewrite the page from all available results."""
    parts = [HEAD, "\n".join(summary(results, titles))]
    if processors := "\n".join(processors_section(results, titles)):
        parts.append(processors)
    for name, title in titles.items():
        file = results / f"{name}.json"
        if name == "peers":
            if any((results / name).glob("*.json")):
                parts.append("\n".join(peers_section(title, results / name, page)))
        elif file.exists():
            parts.append("\n".join(section(title, json.loads(file.read_text()))))
    if (file := results / "decompositions.json").exists():
        parts.append("\n".join(decompositions_section(json.loads(file.read_text()))))
    if (file := results / "regressions.json").exists():
        parts.append("\n".join(regressions_section(json.loads(file.read_text()))))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts))


def section(title: str, result: Result) -> Iterator[str]:
    machine, given = result["machine"], result["settings"]
    yield f"## {title}\n"
    yield f"{NOTES[result['benchmark']]}\n"
    versions = _versions(result["versions"])
    if kernels := machine.get("kernels"):
        versions += f"; OpenBLAS for {kernels}"
    for peer, numbers in result.get("peer_versions", {}).items():
        versions += f"; {peer}'s: {_versions(numbers)}"
    yield (
        f"{result['date']}, commit {result['commit']}, `{result['command']}`. {machine['cpu']}, {machine['cores']} "
        f"cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; {versions}. "
        f"{_models(given)}"
        f"Load average before the first run: {machine['load_before']:.1f} (near 0: nothing else was running; "
        "other work lengthens wall-clock seconds, but hardly changes ratios of commands that take turns).\n"
    )
    if "steps" in result:
        yield from _steps(result["steps"])
        return
    yield from table(("measure", "figure", "goal", "met"), (_goal(found) for found in result["goals"]))
    if "times_plain" in result:
        yield from table(
            ("times the reading and writing", "whole command", "start-up aside"),
            ((one["name"], f"{_short(one['whole'])} x", f"{_short(one['aside'])} x") for one in result["times_plain"]),
        )
    if "in_memory" in result:
        yield from table(
            ("in memory", "ours", "full SVD", "times faster, median of the layers"),
            (
                (found["method"], f"{found['ours_s']:.2f} s", f"{found['theirs_s']:.1f} s", f"{found['ratio']:.0f} x")
                for found in result["in_memory"]
            ),
        )
    if "peft" in result:
        yield from table(
            (f"in memory, {result['peft']['layers']} layers", "ours", f"PEFT {result['peft']['peft']}", "times faster",
             "largest relative difference"),
            (_peft(found) for found in result["peft"]["rows"]),
        )  # fmt: skip
    yield from table(
        ("command", "runs", "wall", "from .. to", "user", "system", "peak memory"),
        (_row(found) for found in result["rows"]),
    )
    yield from table(
        ("agreement: relative error of the merged update", "tensors", "median", "worst"),
        (_agreement(found) for found in result["agreement"]),
    )
    yield "<details><summary>Commands</summary>\n\n```"
    yield from (f"# {found['name']}\n{found['command']}" for found in result["rows"])
    yield "```\n\n</details>\n"


def _peft(found: Result) -> tuple[str, ...]:
    ours = f"{found['ours_s']:.2f} s"
    if not found["theirs"]:
        return f"`{found['ours']}`", ours, "-", "-", "-"
    ratio = found["theirs_s"] / found["ours_s"]
    names = f"`{found['ours']}`, in PEFT `{found['theirs']}`"
    return names, ours, f"{found['theirs_s']:.1f} s", f"{ratio:.0f} x", f"{found['error']:.1e}"


def _versions(numbers: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _models(given: Result) -> str:
    if "size" not in given:
        return ""
    return (
        f"{given['size']} shapes: {given['parameters'] / 1e6:.1f}M parameters, {given['matrices']} matrices, float32; "
        f"{given['tasks']} models, adapters of rank {given['adapter_rank']}. "
    )


def _steps(found: Sequence[Result]) -> Iterator[str]:
    fastest = {(row["d"], row["classes"]): row["step_s"] for row in found if row["form"] == "subspace"}
    return table(
        ("d", "C", "form", "numbers learned", "steps", "one step", "from .. to", "times the subspace's", "peak memory",
         "target's difference"),
        (
            (
                str(row["d"]),
                str(row["classes"]),
                row["form"],
                f"{row['learned']:,}",
                str(row["steps"]),
                _milliseconds(row["step_s"]),
                " .. ".join(map(_milliseconds, row["step_range_s"])),
                f"{_short(row['step_s'] / fastest[row['d'], row['classes']])} x",
                f"{row['peak_bytes'] / 1e6:.1f} MB",
                f"{row['target_error']:.0e}",
            )
            for row in found
        ),
    )  # fmt: skip


def _milliseconds(seconds: float) -> str:
    return f"{_short(1e3 * seconds)} ms"


def _goal(found: Result) -> tuple[str, ...]:
    bound = "at least" if found["at_least"] else "at most"
    unit = found["unit"]
    return found["goal"], f"{_short(found['figure'])} {unit}", f"{bound} {found['limit']:g} {unit}", _yes(found["met"])


def _row(found: Result) -> tuple[str, ...]:
    walls = [run["wall_s"] for run in found["runs"]]
    return (
        found["name"],
        str(len(walls)),
        f"{found['wall_s']:.2f} s",
        f"{min(walls):.2f} .. {max(walls):.2f}",
        f"{found['user_s']:.2f} s",
        f"{found['system_s']:.2f} s",
        f"{found['peak_bytes'] / 1e9:.2f} GB{' (sum)' if found['peak_is_sum'] else ''}",
    )


def _agreement(found: Result) -> tuple[str, ...]:
    median = f"{found['median']:.1e}" if "median" in found else "-"
    return found["what"], str(found.get("tensors", "all")), median, f"{found['worst']:.1e}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"
