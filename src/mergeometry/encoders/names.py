"""Maps the names of tensors on disk to the parameters of a model in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from mergeometry.encoders.conversion import loaded_names
from mergeometry.errors import MismatchError
from mergeometry.plan.matching import match_names
from mergeometry.sources import TensorInfo


def parameter_names(
    module: nn.Module, disk: Mapping[str, TensorInfo], unused: Iterable[str] = ()
) -> dict[str, str | None]:
    """Each tensor's parameter in ``module``, or None where the module has none, as for a pooler that is not run.

    Parameters that share a tensor go by the first of their names, and belong to only one tensor on disk.
    ``unused`` are parameters of the module that no forward pass needs.

    Raises:
        MismatchError: a parameter that is run is not on disk, or its shape there differs.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters(remove_duplicate=False)}
    pairs: Mapping[str, str] = match_names(disk, shapes, ()).pairs
    absent = _absent(module, shapes, pairs, unused)
    if absent and hasattr(module, "from_pretrained"):
        # transformers renames the tensors of many models while it loads them.
        pairs, missing = loaded_names(module, disk)
        absent = [name for name in _absent(module, shapes, pairs, unused) if name in missing]
    problems = [f"the model runs {name!r} {list(shapes[name])}, which the base's files do not hold" for name in absent]
    for name, parameter in pairs.items():
        if disk[name].shape != shapes[parameter]:
            problems.append(f"{name!r} is {list(disk[name].shape)} on disk and {list(shapes[parameter])} in the model")
    if problems:
        raise MismatchError(
            "the base's tensors are not those that transformers runs",
            problems,
            hint="load the base with transformers and save it under its own names: model.save_pretrained(FOLDER)",
        )
    return _once(module, disk, pairs)


def stored_again(
    module: nn.Module, disk: Mapping[str, TensorInfo], names: Mapping[str, str | None]
) -> dict[str, tuple[str, str]]:
    """Tensors on disk that `parameter_names` did not count, since another represents the same parameter.

    Each comes with that other tensor's name and its own parameter's: an output layer that duplicates the embedding.
    """
    shapes = {name: parameter.shape for name, parameter in module.named_parameters(remove_duplicate=False)}
    counted = {id(module.get_parameter(parameter)): name for name, parameter in names.items() if parameter is not None}
    duplicates = {}
    for name, parameter in match_names(disk, shapes, ()).pairs.items():
        first = counted.get(id(module.get_parameter(parameter)))
        if names.get(name) is None and first is not None:
            duplicates[name] = (first, parameter)
    return duplicates


def _absent(module: nn.Module, parameters: Iterable[str], pairs: Mapping[str, str], unused: Iterable[str]) -> list[str]:
    """The parameters that are run but have no tensor on disk."""
    stored = {id(module.get_parameter(name)) for name in {*pairs.values(), *unused}}
    return [name for name in parameters if id(module.get_parameter(name)) not in stored]


def _once(module: nn.Module, disk: Iterable[str], pairs: Mapping[str, str]) -> dict[str, str | None]:
    """Name shared parameters by the first of their names; of several tensors for one, the one with that name counts."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    names: dict[str, str | None] = dict.fromkeys(disk)
    taken: set[str] = set()
    by_own_name = sorted(pairs, key=lambda name: first[id(module.get_parameter(pairs[name]))] != pairs[name])
    for name in by_own_name:
        parameter = first[id(module.get_parameter(pairs[name]))]
        if parameter not in taken:
            names[name] = parameter
            taken.add(parameter)
    return names
