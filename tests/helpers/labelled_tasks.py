"""A family that learns, as a comparison reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch


def written(folder: Path, recipe: dict[str, Any], kind: str = "text") -> Path:
    """`recipe.yaml` and `tasks.yaml` of a family's recipe, every second text to validate on, the others to test on."""
    given = {key: value for key, value in recipe.items() if key != "adapt"}
    (folder / "recipe.yaml").write_text(json.dumps({**given, "method": "tsv_m"}))
    tasks = []
    for task in recipe["adapt"]["tasks"]:
        texts = Path(task["data"]["path"] if isinstance(task["data"], dict) else task["data"])
        entry = {"name": task["name"]}
        rows = [{"text": text} for text in texts.read_text("utf-8").splitlines() if text.strip()]
        if texts.suffix == ".jsonl":
            rows = [{"text": json.loads(row["text"])["text"]} for row in rows]
        if kind == "text":
            head = task["head"] if isinstance(task["head"], str) else task["head"]["path"]
            entry["head"] = head
            classes = safetensors.torch.load_file(head)["weight"].shape[0]
            rows = [{**row, "label": number % classes} for number, row in enumerate(rows)]
        for split, part in (("validation", rows[::2]), ("test", rows[1::2])):
            place = folder / f"{task['name']}-{split}.jsonl"
            place.write_text("\n".join(map(json.dumps, part)))
            entry[split] = place.name
        tasks.append(entry)
    (folder / "tasks.yaml").write_text(json.dumps({"encoder": {"kind": kind}, "tasks": tasks}))
    return folder
