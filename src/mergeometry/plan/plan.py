"""The plan as a whole: all that a merge will read, compute and write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mergeometry.conventions.folders import Kind
from mergeometry.dtypes import NAMED_CODES
from mergeometry.plan.machine import COMMAND_BYTES, PROCESS_BYTES, TRANSFORMERS_BYTES
from mergeometry.plan.matching import Match
from mergeometry.plan.reading import bytes_beside
from mergeometry.plan.residual_cost import residual_memories, residual_seconds
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import Recipe
from mergeometry.recipe.tokenizer import is_template
from mergeometry.sink import Layout, SidecarPlan, sidecar_files, sidecar_notes, with_template, with_vocabulary
from mergeometry.sources import Adapter, Checkpoint, TensorInfo

if TYPE_CHECKING:
    from mergeometry.plan.adapter_form import AdapterForm
    from mergeometry.plan.alignment import OutputVocabulary
    from mergeometry.plan.residual_form import ResidualForm


@dataclass(frozen=True, repr=False)
class Plan:
    """All that a merge will read, compute and write."""

    recipe: Recipe
    """The recipe, with all that it left open chosen."""
    base: Checkpoint
    """The base's tensors and files, by its headers."""
    models: tuple[Checkpoint | Adapter, ...]
    """The models, in the recipe's order."""
    matches: tuple[Match, ...]
    """For each model, which of its names stand for which of the base's."""
    tasks: tuple[TensorTask, ...]
    """What becomes of each tensor of the output: its sources, method, route and place."""
    heads: Mapping[str, tuple[TensorInfo, ...]]
    """Model label to the tensors that only that model has, kept next to the merged weights."""
    layout: Layout
    """The output's files of weights, to the byte."""
    notes: tuple[str, ...]
    """What a user should know before the merge, in sentences."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the output's config.json that are not the base's."""
    form: AdapterForm | None = None
    """How an adapter holds the merge, where the output is one."""
    own: frozenset[str] = frozenset()
    """Tensors of the base that are the model's own: heads and grown tables, which an adapter holds whole."""
    tied: Mapping[str, str] = field(default_factory=dict)
    """Tensors that are copies of others: each copy's name, and the name of what it is a copy of."""
    vocabulary: OutputVocabulary | None = None
    """What the output's files say of its tokens, where its tables have other rows than the base's."""
    residuals: ResidualForm | None = None
    """How adapters beside the merged model hold what the merge loses of each model; None where none are wanted."""
    planned_in: tuple[float, float] = field(default=(0.0, 0.0), compare=False)
    """Seconds by the clock and by the processors that planning took."""
    search: Mapping[str, Any] | None = field(default=None, compare=False)
    """What was tried on labelled inputs before this plan was made; None where nothing was."""

    def __repr__(self) -> str:
        merged = sum(task.method is not None for task in self.tasks)
        return (
            f"Plan({len(self.models)} models onto {self.base.described!r} by {self.recipe.method.name}: "
            f"{merged} tensors merged, {len(self.tasks) - merged} copied, {self.bytes_written:,} bytes to write)"
        )

    @cached_property
    def by_name(self) -> Mapping[str, TensorTask]:
        """The tasks by the names of their tensors."""
        return {task.name: task for task in self.tasks}

    @property
    def chosen(self) -> Mapping[Kind, Path]:
        """The folders whose tokenizer, chat template or configuration the output gets in place of the base's."""
        return chosen_folders(self.recipe, self.models)

    @property
    def inputs(self) -> list[Path]:
        """Where everything lies that the merge reads: models, data and heads."""
        sections = [section for section in (self.recipe.adapt, self.recipe.data) if section is not None]
        places = [Path(place) for section in sections for place in section.places]
        parts = [part for model in (self.base, *self.models) for part in parts_of(model)]
        adapters = [part.adapter for part in parts if isinstance(part, Checkpoint) and part.adapter is not None]
        donor = [Path(chosen.donor)] if (chosen := self.recipe.vocabulary) is not None and chosen.donor else []
        return [*(part.path for part in parts), *adapters, *donor, *places]

    @property
    def output_config(self) -> Mapping[str, Any] | None:
        """The configuration that the output gets, as its source has it."""
        chosen = next((model for model in self.models if model.label == self.recipe.config), self.base)
        return chosen.config if isinstance(chosen, Checkpoint) else self.base.config

    @property
    def output_code(self) -> str | None:
        """The dtype that configurations are to name; None where the output has the base's."""
        return NAMED_CODES.get(self.recipe.output.dtype)

    def sidecars(self) -> SidecarPlan:
        """The files that the output gets next to its weights; SourceError if one is not to be copied."""
        files = sidecar_files(self.base.path, self.chosen)
        if self.recipe.chat_template is not None and is_template(self.recipe.chat_template):
            files = with_template(files, self.recipe.chat_template)
        chosen = self.vocabulary
        return files if chosen is None else with_vocabulary(files, chosen.files, chosen.keys)

    def sidecar_notes(self) -> tuple[str, ...]:
        """What happens to the files next to the weights and is not said in ``notes``.

        Raises:
            SourceError: a file to copy is malformed, or a link out of its folder.
        """
        if self.recipe.output.adapter:
            return ()
        return sidecar_notes(self.sidecars(), code=self.output_code)

    @property
    def bytes_read(self) -> int:
        """Bytes of all inputs' tensors that will be read."""
        return sum(task.cost.read for task in self.tasks) + sum(
            info.nbytes for infos in self.heads.values() for info in infos
        )

    @property
    def bytes_written(self) -> int:
        """Bytes of the weights to write."""
        return self.layout.nbytes + sum(info.nbytes for infos in self.heads.values() for info in infos)

    def infos(self) -> Iterator[TensorInfo]:
        """Every tensor of every input, the base's first."""
        for model in (self.base, *self.models):
            yield from tensors_of(model)

    def ordered(self) -> list[TensorTask]:
        """Tasks that may refuse the inputs first, then the costliest, so that no big one is left to run alone."""
        waiting = (task for task in self.tasks if task.outputs or task.equal)
        return sorted(waiting, key=lambda task: (not task.equal, -task.cost.seconds, task.name))

    def surveyed_tasks(self) -> list[TensorTask]:
        """Tasks that a survey of the merge takes, the costliest first; also those that no output holds."""
        merged = (task for task in self.tasks if task.method is not None)
        return sorted(merged, key=lambda task: (-task.cost.seconds, task.name))

    def peak_memory(self, workers: int) -> int:
        """Upper bound of the resident bytes of all processes, including the parent."""
        largest = sorted((task.cost.memory for task in self.tasks), reverse=True)[:workers]
        heads = max((_bytes_of_head(infos) for infos in self.heads.values()), default=0)
        parent = bytes_beside(self.tasks) if workers == 1 else COMMAND_BYTES
        if self.recipe.data is not None or self.recipe.adapt is not None:  # the process that has run models
            parent = TRANSFORMERS_BYTES + (bytes_beside(self.tasks) if workers == 1 else PROCESS_BYTES)
        later = sorted(residual_memories(self).values(), reverse=True)[:workers]
        return parent + heads + max(sum(PROCESS_BYTES + memory for memory in stage) for stage in (largest, later))

    def seconds(
        self,
        workers: int,
        paces: Mapping[str, float] = MappingProxyType({}),
        saved: Mapping[str, float] = MappingProxyType({}),
    ) -> float:
        """Rough seconds for the whole merge.

        ``paces`` correct those of a route for the machine, and ``saved`` says what a tensor takes less than planned.
        """
        seconds = [(task.cost.seconds - saved.get(task.name, 0.0)) * paces.get(task.route, 1.0) for task in self.tasks]
        return max(sum(seconds) / workers, max(seconds, default=0.0)) + residual_seconds(self) / workers


def _bytes_of_head(infos: Sequence[TensorInfo]) -> int:
    """Two of its tensors are in memory at a time, narrow ones also in the dtype in which they are checked."""
    sizes = [info.nbytes + 4 * info.elements * (info.item_size < 4) for info in infos]
    return sum(sorted(sizes)[-2:])


def chosen_folders(recipe: Recipe, models: Sequence[Checkpoint | Adapter]) -> dict[Kind, Path]:
    """The folder of the model that the recipe names for a kind of files; kinds that are the base's are not in it.

    A tokenizer brings its chat template along, unless the recipe chooses that too.
    """
    vocabulary = recipe.vocabulary and recipe.vocabulary.named
    names = {Kind.TOKENIZER: vocabulary, Kind.CONFIGURATION: recipe.config}
    names[Kind.TEMPLATE] = recipe.chat_template or vocabulary
    folders = {model.label: model.path for model in models}
    if recipe.vocabulary is not None and recipe.vocabulary.donor is not None:
        folders["donor"] = Path(recipe.vocabulary.donor)
    return {kind: folders[name] for kind, name in names.items() if name in folders}


def parts_of(model: Checkpoint | Adapter) -> list[Checkpoint | Adapter]:
    """The models whose files a model consists of: itself, or those that it is stacked from, once each."""
    if isinstance(model, Checkpoint) and model.stack is not None:
        return list({entry.checkpoint.described: entry.checkpoint for entry in model.stack.entries}.values())
    return [model]


def tensors_of(model: Checkpoint | Adapter) -> Iterator[TensorInfo]:
    """Every tensor that a model's files hold."""
    if isinstance(model, Checkpoint):
        # Once each: two halves of a tied table may be one tensor of the file.
        yield from dict.fromkeys(model.tensors.values())
        return
    yield from model.infos()
