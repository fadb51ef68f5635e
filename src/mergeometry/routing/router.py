"""A router: from an input to the task whose residual is to be switched on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.errors import DataError, NumericalError, OutputError, SourceError
from mergeometry.routing.features import task_features
from mergeometry.sink import safetensors_bytes
from mergeometry.sink.beside import write_beside
from mergeometry.sources import TensorReader, read_header

_KIND = "mergeometry router"
_LAYER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """Tells which task an input belongs to, by the merged model's own features in the middle of its layers.

    ``layer`` counts hidden states, 0 being the embeddings. A task's score is a linear function of the feature.
    """

    tasks: tuple[str, ...]
    layer: int
    weight: Float[Tensor, "tasks d"]
    bias: Float[Tensor, " tasks"]
    held_out: float | None = None
    """Share of the inputs that got their own task while they were held out of the fit; None where that is not known."""

    def scores(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "inputs tasks"]:
        """The probability of each task for each input: the softmax of the tasks' scores.

        It says how often inputs of these tasks are of this one; of inputs of no task it says less. ``model`` is the
        merged model, with or without its residuals as adapters of PEFT; ``batch`` is what its tokenizer or image
        processor gives.

        Raises:
            DataError: there is no input, the model gives no hidden states, or is not the router's.
            NumericalError: the model's hidden states hold NaN or Inf.
        """
        features = task_features(model, batch, self.layer).to(self.weight)
        width = self.weight.shape[1]
        if features.shape[1] != width:
            raise DataError(
                f"the router takes features of {width} numbers, and the model gives {features.shape[1]}",
                hint="a router belongs to the merged model that it was fitted to",
            )
        if not bool(features.isfinite().all()):
            raise NumericalError("the hidden states of the merged model hold NaN or Inf")
        return torch.softmax(features @ self.weight.T + self.bias, dim=1)

    def route(self, model: nn.Module, batch: Mapping[str, Tensor]) -> list[str]:
        """The most probable task of each input.

        Raises:
            DataError: there is no input, the model gives no hidden states, or is not the router's.
            NumericalError: the model's hidden states hold NaN or Inf.
        """
        return [self.tasks[index] for index in self.scores(model, batch).argmax(dim=1).tolist()]

    def route_if_sure(self, model: nn.Module, batch: Mapping[str, Tensor], at_least: float = 0.8) -> list[str | None]:
        """The most probable task of each input, None where it is less probable than ``at_least``.

        None is for the merged model alone: the input lies between tasks, or belongs to none of them.

        Raises:
            DataError: there is no input, the model gives no hidden states, or is not the router's.
            NumericalError: the model's hidden states hold NaN or Inf.
            ValueError: ``at_least`` is no probability.
        """
        if not 0 <= at_least <= 1:
            raise ValueError(f"a probability is between 0 and 1, got {at_least}")
        most, tasks = self.scores(model, batch).max(dim=1)
        return [
            self.tasks[task] if probability >= at_least else None
            for probability, task in zip(most.tolist(), tasks.tolist(), strict=True)
        ]

    def save(self, file: str | Path) -> None:
        """Write the router as one safetensors file, whose metadata names the tasks. It replaces nothing but a router.

        Raises:
            OutputError: there is another file in its place, or it cannot be written.
        """
        refuse_other_file(Path(file))
        metadata = {"kind": _KIND, "tasks": json.dumps(self.tasks), "layer": str(self.layer)}
        metadata |= {} if self.held_out is None else {"held_out": f"{self.held_out:.6g}"}
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
            or not _LAYER.fullmatch(layer)
            or any(info.code != "F32" for info in header.tensors.values())
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
        return cls(tasks, int(layer), weight, bias, _share_of(header.metadata.get("held_out", "")))


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
    named = isinstance(tasks, list) and all(isinstance(task, str) for task in tasks)
    return tuple(tasks) if named and len(set(tasks)) == len(tasks) else ()


def _share_of(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


def _is_router(file: Path) -> bool:
    try:
        return bool(_tasks_of(read_header(file).metadata))
    except SourceError:
        return False
