"""A router: from an input to the task whose residual is to be switched on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.errors import DataError, OutputError, SourceError
from mergeometry.routing.features import task_features
from mergeometry.sink import safetensors_bytes
from mergeometry.sink.beside import write_beside
from mergeometry.sources import TensorReader, read_header

_KIND = "mergeometry router"


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """Tells which task an input belongs to, by the merged model's own features in the middle of its layers.

    ``layer`` counts hidden states, 0 being the embeddings. A task's score is a linear function of the feature.
    """

    tasks: tuple[str, ...]
    layer: int
    weight: Float[Tensor, "tasks d"]
    bias: Float[Tensor, " tasks"]

    def scores(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "inputs tasks"]:
        """The probability of each task for each input: the softmax of the tasks' scores.

        ``model`` is the merged model, with or without its residuals as adapters of PEFT; ``batch`` is what its
        tokenizer or image processor gives.

        Raises:
            DataError: the model gives no hidden states, or is not the router's.
        """
        features = task_features(model, batch, self.layer).to(self.weight)
        width = self.weight.shape[1]
        if features.shape[1] != width:
            raise DataError(
                f"the router takes features of {width} numbers, and the model gives {features.shape[1]}",
                hint="a router belongs to the merged model that it was fitted to",
            )
        return torch.softmax(features @ self.weight.T + self.bias, dim=1)

    def route(self, model: nn.Module, batch: Mapping[str, Tensor]) -> list[str]:
        """The most probable task of each input.

        Raises:
            DataError: the model gives no hidden states, or is not the router's.
        """
        return [self.tasks[index] for index in self.scores(model, batch).argmax(dim=1).tolist()]

    def save(self, file: str | Path) -> None:
        """Write the router as one safetensors file, whose metadata names the tasks. It replaces nothing but a router.

        Raises:
            OutputError: there is another file in its place, or it cannot be written.
        """
        refuse_other_file(Path(file))
        metadata = {"kind": _KIND, "tasks": json.dumps(self.tasks), "layer": str(self.layer)}
        tensors = {"weight": self.weight.float().cpu().contiguous(), "bias": self.bias.float().cpu().contiguous()}
        write_beside(Path(file), safetensors_bytes(tensors, metadata))

    @classmethod
    def load(cls, file: str | Path) -> Router:
        """Read a router that `save` wrote.

        Raises:
            SourceError: the file is missing, malformed, or no router.
        """
        place = Path(file)
        header = read_header(place)
        layer = header.metadata.get("layer", "")
        shapes = {name: info.shape for name, info in header.tensors.items()}
        tasks = _tasks_of(header.metadata)
        if (
            not tasks
            or not layer.isdecimal()
            or set(shapes) != {"weight", "bias"}
            or shapes["bias"] != (len(tasks),)
            or len(shapes["weight"]) != 2
            or shapes["weight"][0] != len(tasks)
        ):
            raise SourceError("the file is not a router", file=place, hint="`mergeometry router` writes one")
        with TensorReader() as reader:
            weight, bias = (reader.read(header.tensors[name]).float() for name in ("weight", "bias"))
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise SourceError("the router's numbers hold NaN or Inf", file=place)
        return cls(tasks, int(layer), weight, bias)


def refuse_other_file(place: Path) -> None:
    """Refuse a place where a router cannot go.

    Raises:
        OutputError: there is anything but a router, or there is no folder around it.
    """
    if not place.parent.is_dir():
        raise OutputError("the folder of the router does not exist", file=place.parent)
    if (place.exists() or place.is_symlink()) and not _is_router(place):
        raise OutputError("there is another file where the router goes", file=place, hint="choose another name")


def _tasks_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The tasks that the metadata of a router's file name; none where it is no router's."""
    if metadata.get("kind") != _KIND:
        return ()
    try:
        tasks = json.loads(metadata.get("tasks", ""))
    except (ValueError, RecursionError):
        return ()
    return tuple(tasks) if isinstance(tasks, list) and all(isinstance(task, str) for task in tasks) else ()


def _is_router(file: Path) -> bool:
    try:
        return bool(_tasks_of(read_header(file).metadata))
    except SourceError:
        return False
