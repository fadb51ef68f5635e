"""Merging adapters without ever forming a dense matrix, against the dense full decomposition of the same result."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.measure import Case, in_turn, median, merge_command, printed_json, program, say
from benchmarks.speed.settings import Settings, goal

TITLE = "Adapters: thin factors against dense matrices"
METHODS = ("dc_merge", "tsv_m")


def run(settings: Settings) -> dict[str, Any]:
    base, _, adapters = settings.models()
    in_memory, rows, agreement, goals = [], [], [], []
    for method in settings.methods(*METHODS):
        say(f"{method} in memory")
        layers = printed_json(program("adapter_methods", settings.size.name, method))
        ours, theirs = (sum(layer[f"{side}_s"] for layer in layers) for side in ("ours", "theirs"))
        ratio = median(layer["theirs_s"] / layer["ours_s"] for layer in layers)
        in_memory.append({"method": method, "ours_s": ours, "theirs_s": theirs, "ratio": ratio, "layers": layers})
        agreement.append({"what": f"{method}, in memory", "worst": max(layer["error"] for layer in layers)})
        goals.append(goal(f"{method} on adapters, in memory: times faster", ratio, 100, at_least=True))
    for method in settings.methods(*METHODS):
        output, other = settings.work / "out-ours", settings.work / "out-theirs"
        merge = merge_command(base, adapters, method, output, workers=1, settings=["output.adapter=true"])
        dense = program("full_svd", "--method", method, "--output", other, "--base", base, *adapters)
        cases = [Case(f"{method}, mergeometry", merge, output), Case(f"{method}, full SVD", dense, other)]
        in_turn(cases, settings.slow_repeats, settings.work)
        found = printed_json(program("agreement", "adapters", "--ours", output, "--theirs", other))
        agreement.append({"what": f"{method}, written adapter", **found["between"]})
        pair = [case.row() for case in cases]
        rows += pair
        times = pair[1]["wall_s"] / pair[0]["wall_s"]
        goals.append(goal(f"{method} on adapters, whole command: times faster", times, 100, at_least=True))
    return {"in_memory": in_memory, "rows": rows, "agreement": agreement, "goals": goals}
