"""Write the vision suite as files that ``mergeometry compare`` reads: images, labels and heads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mergeometry_suite.vision.backbone import vision_backbone
from mergeometry_suite.vision.experts import HEAD, load_full_vision_expert, load_vision_expert
from mergeometry_suite.vision.images import Images, import_pillow
from mergeometry_suite.vision.tasks import find_vision_task


def write_vision_tasks(
    names: Iterable[str],
    output: Path,
    *,
    full: bool = False,
    limit: int | None = None,
    seed: int = 0,
    unlabelled: int,
    progress: Callable[[str], None] | None = None,
) -> tuple[Path, list[dict[str, str]], dict[str, Any]]:
    """Write the images, tables and heads of these tasks below ``output``, an existing folder.

    Returns the backbone's folder, the recipe's ``models``, and the content of ``tasks.yaml``. The images are
    written without loss at the size on which the experts were trained; ``unlabelled`` training images of each task are
    written without their labels.

    Raises:
        DataError: an expert is not trained, or a package cannot be fetched.
    """
    models: list[dict[str, str]] = []
    tasks: list[dict[str, Any]] = []
    (output / "heads").mkdir(exist_ok=True)
    for task in map(find_vision_task, names):
        expert = load_full_vision_expert(task.name, seed) if full else load_vision_expert(task.name, seed=seed)
        models.append({"path": str(expert.folder.resolve()), "name": task.name})
        head = f"heads/{task.name}.safetensors"
        shutil.copyfile(expert.folder / HEAD, output / head)
        if progress is not None:
            progress(f"writing the images of {task.name}")
        splits = task.read()
        few = _write_images(output, f"{task.name}-unlabelled", splits.train.take(unlabelled), labelled=False)
        entry: dict[str, Any] = {"name": task.name, "head": head, "unlabelled": few}
        for name, images in (("validation", splits.validation), ("test", splits.test)):
            entry[name] = _write_images(output, f"{task.name}-{name}", images if limit is None else images.take(limit))
        tasks.append(entry)
    return vision_backbone(progress), models, {"encoder": {"kind": "image", "pooling": "first"}, "tasks": tasks}


def _write_images(output: Path, stem: str, images: Images, *, labelled: bool = True) -> str:
    image, folder = import_pillow(), output / "data" / stem
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        name = f"{number:04d}.png"
        image.fromarray(pixels.numpy()).save(folder / name)
        row = {"image": f"{stem}/{name}", **({"label": label} if labelled else {})}
        rows.append(json.dumps(row) + "\n")
    place = f"data/{stem}.jsonl"
    (output / place).write_text("".join(rows), "utf-8")
    return place
