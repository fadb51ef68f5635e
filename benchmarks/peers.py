"""mergekit on the same checkpoints, the same work, in turn with ours.

It needs an environment of its own, since its pins are not ours:

    python -m venv benchmarks/scratch/venv-mergekit
    benchmarks/scratch/venv-mergekit/bin/pip install torch==2.13.0  # first, or pip brings gigabytes of CUDA
    benchmarks/scratch/venv-mergekit/bin/pip install mergekit==0.1.5
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Case, in_turn, merge_command, printed_json, program, relative, say
from benchmarks.settings import Settings, goal
from benchmarks.sizes import DENSITY

TITLE = "Peers: mergekit on the same checkpoints"
METHODS = {"average": "linear", "task_arithmetic": "task_arithmetic", "ties": "ties"}


def run(settings: Settings) -> dict[str, Any] | None:
    tool = ROOT / "benchmarks" / "scratch" / "venv-mergekit" / "bin" / "mergekit-yaml"
    if not tool.exists():
        say(f"skipped: there is no {relative(tool)}; benchmarks/peers.py says how to make it")
        return None
    base, *models = (_nameless(model, settings.work) for model in _whole(settings))
    rows, agreement, goals = [], [], []
    for method in settings.methods(*METHODS):
        ours, theirs = settings.work / "out-ours", settings.work / "out-mergekit"
        recipe = settings.work / f"mergekit-{method}.json"
        recipe.write_text(json.dumps(_recipe(METHODS[method], base, models), indent=1))  # JSON is YAML
        cases = [
            Case(f"{method}, mergeometry, 1 worker", merge_command(base, models, method, ours, workers=1), ours),
            Case(f"{method}, mergekit", [str(tool), relative(recipe), relative(theirs)], theirs),
        ]
        in_turn(cases, settings.slow_repeats, settings.work)
        asked = ["models", "--method", method, "--ours", ours, "--theirs", theirs, "--base", base, "--models", *models]
        found = printed_json(program("agreement", *asked))
        agreement.append({"what": f"{method}, ours against mergekit", **found["between"]})
        pair = [case.row() for case in cases]
        rows += pair
        for words, key in (("times faster", "wall_s"), ("times less memory", "peak_bytes")):
            goals.append(goal(f"{method} against mergekit: {words}", pair[1][key] / pair[0][key], 1, at_least=True))
    return {"rows": rows, "agreement": agreement, "goals": goals, "peer_versions": _versions(tool)}


def _whole(settings: Settings) -> list[Path]:
    base, models, _ = settings.models()
    return [base, *models]


def _nameless(model: Path, work: Path) -> Path:
    """The same weights beside a configuration that transformers cannot build: mergekit then goes by the names on disk.

    Where it knows the architecture, it takes the names from transformers; version 5 has others for the layers of a
    vision transformer than those on disk, and mergekit then leaves all of them out of its output without an error.
    """
    folder = work / "mergekit-inputs" / model.name
    if not folder.exists():
        folder.mkdir(parents=True)
        config = json.loads((model / "config.json").read_text())
        config["hidden_act"] = "unlisted"
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "model.safetensors").hardlink_to(model / "model.safetensors")
    return folder


def _recipe(name: str, base: Path, models: Sequence[Path]) -> dict[str, Any]:
    parameters: dict[str, Any] = {"weight": 1.0}
    if name == "ties":
        parameters["density"] = DENSITY
    recipe: dict[str, Any] = {
        "merge_method": name,
        "dtype": "float32",
        "models": [{"model": relative(model), "parameters": parameters} for model in models],
        "parameters": {"normalize": name != "task_arithmetic"},
    }
    if name != "linear":
        recipe["base_model"] = relative(base)
    return recipe


def _versions(tool: Path) -> dict[str, str]:
    code = (
        "import json; from importlib.metadata import version; "
        "print(json.dumps({n: version(n) for n in ('mergekit', 'torch', 'transformers', 'safetensors')}))"
    )
    done = subprocess.run([str(tool.parent / "python"), "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
