"""Merging adapters without forming a dense matrix, against dense decompositions and PEFT; adapters of a 7B model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed.measure import Case, in_turn, median, merge_command, printed_json, program, run_once, say
from benchmarks.speed.settings import Settings, goal
from benchmarks.speed.sizes import LLAMA_7B, TINY_LLAMA, Size

TITLE = "Adapters: thin factors against dense matrices"
METHODS = ("dc_merge", "tsv_m")
LAYERS = 2
"""Layers that are merged in memory: each takes the dense side a quarter of a minute."""


def run(settings: Settings) -> dict[str, Any]:
    in_memory, rows, agreement, goals = [], [], [], []
    for method in settings.methods(*METHODS):
        say(f"{method} in memory")
        layers = printed_json(program("adapter_methods", settings.size.name, method, str(LAYERS)))
        ours, theirs = (sum(layer[f"{side}_s"] for layer in layers) for side in ("ours", "theirs"))
        ratio = median(layer["theirs_s"] / layer["ours_s"] for layer in layers)
        in_memory.append({"method": method, "ours_s": ours, "theirs_s": theirs, "ratio": ratio, "layers": layers})
        agreement.append({"what": f"{method}, in memory", "worst": max(layer["error"] for layer in layers)})
        goals.append(goal(f"{method} on adapters, in memory: times faster", ratio, 150, at_least=True))
    say("PEFT in memory")
    peft = printed_json(program("adapter_peft", settings.size.name, str(LAYERS)))
    base, adapters = models(settings.size, settings.work)
    method = METHODS[0]
    output, other = settings.work / "out-ours", settings.work / "out-theirs"
    merge = merge_command(base, adapters, method, output, workers=1, settings=["output.adapter=true"])
    dense = program("full_svd", "--method", method, "--output", other, "--base", base, *adapters)
    cases = [Case(f"{method}, mergeometry", merge, output), Case(f"{method}, full SVD", dense, other)]
    in_turn(cases, settings.slow_repeats, settings.work)
    found = printed_json(program("agreement", "adapters", "--ours", output, "--theirs", other))
    agreement.append({"what": f"{method}, written adapter", **found["between"]})
    pair = [case.row() for case in cases]
    times = pair[1]["wall_s"] / pair[0]["wall_s"]
    goals.append(goal(f"{method} on adapters, whole command: times faster", times, 20, at_least=True))
    large = of_llama(settings)
    goals.append(goal(f"{method}, adapters of a 7B Llama, whole command", large["wall_s"], 20, "s", at_least=False))
    return {
        "in_memory": in_memory,
        "peft": peft,
        "rows": [*rows, *pair, large],
        "agreement": agreement,
        "goals": goals,
    }


def of_llama(settings: Settings) -> dict[str, Any]:
    """One merge of a 7B model's adapters, once everything was read before."""
    size = TINY_LLAMA if settings.quick else LLAMA_7B
    base, adapters = models(size, settings.work)
    output = settings.work / "out-llama"
    merge = merge_command(base, adapters, METHODS[0], output, workers=1, settings=["output.adapter=true"])
    case = Case(f"{METHODS[0]}, {size.tasks} adapters of {size.name}, mergeometry", merge, output)
    in_turn([case], settings.slow_repeats, settings.work)
    return case.row()


def models(size: Size, work: Path) -> tuple[Path, list[Path]]:
    """A base without weights and its adapters, written once."""
    folder = work / f"{size.name.lower()}-adapters"
    finished = folder / "finished"
    if not finished.exists():
        say(f"writing adapters of the size {size.name}")
        run_once(Case("adapters", program("adapter_models", size.name, folder)), work)
        finished.touch()
    return folder / "base", [folder / f"adapter{task}" for task in range(size.tasks)]
