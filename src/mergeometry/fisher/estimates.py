"""Estimates each model's Fisher information on its unlabelled inputs, and stores it tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mergeometry.encoders import Encoder
from mergeometry.encoders.batches import generator
from mergeometry.encoders.heads import StoredHead
from mergeometry.encoders.seq2seq import Seq2SeqEncoder
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.errors import DataError, NumericalError
from mergeometry.execution.threads import one_thread
from mergeometry.fisher.gradients import Labels, Squares, squared_gradients
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.fishers import merged_by_fisher
from mergeometry.plan.plan import Plan
from mergeometry.sink import safetensors_bytes
from mergeometry.sources import TensorInfo, read_header

_KEY = "fisher"


def labels_of(given: Labels | None, *, language_model: bool) -> Labels:
    """What the recipe says, or by default every class of a classifier, and one drawn label per token of a text.

    Raises:
        DataError: every label of a language model is asked for.
    """
    if given is None:
        return 1 if language_model else "expected"
    if given == "expected" and language_model:
        raise DataError(
            "a language model has too many labels per token for an expectation over all of them",
            hint="data: {labels: 1} draws one for each token",
        )
    return given


@dataclass(frozen=True, slots=True)
class Estimation:
    """What every model's estimate shares: the plan, the encoder, and how the expectation over labels is taken."""

    plan: Plan
    encoder: Encoder
    labels: Labels
    folder: Path

    def of(self, place: int, data: UnlabelledData, head: StoredHead | None) -> tuple[dict[str, TensorInfo], float]:
        """Where one model's Fisher information lies, by the base's name, and its L2 norm.

        Raises:
            DataError: the data do not fit the model.
            NumericalError: the information is not finite, or zero everywhere.
            OSError: the folder cannot be written to.
        """
        label = self.plan.models[place].label
        with one_thread():
            squares = self._run(place, data, head, label)
            infos, total = {}, 0.0
            for number, name in enumerate(list(squares)):
                values = squares.pop(name)
                size = float(values.double().square().sum())
                if not math.isfinite(size):
                    raise NumericalError("the Fisher information is not finite", model=label, tensor=name)
                total += size
                file = self.folder / f"fisher-{place}-{number}.safetensors"
                file.write_bytes(safetensors_bytes({_KEY: values}))
                infos[name] = read_header(file).tensors[_KEY]
        if total == 0:
            raise NumericalError(
                "the Fisher information is zero everywhere: no prediction depends on the model",
                model=label,
                hint="check its head and its inputs",
            )
        doubles = {name: infos[first] for name, first in self.encoder.doubles.items() if first in infos}
        return infos | doubles, math.sqrt(total)

    def _run(self, place: int, data: UnlabelledData, head: StoredHead | None, label: str) -> dict[str, Tensor]:
        """The information by the base's name."""
        plan, encoder = self.plan, self.encoder
        sites = sites_of(plan, encoder)
        weights = dict(expert_weights(plan, place, encoder, sites))
        read = None if head is None else head.read()
        try:
            inputs = encoder.prepare(data)
        except DataError as error:
            error.model = error.model or label
            raise
        if isinstance(encoder, Seq2SeqEncoder):
            inputs = encoder.continue_with(encoder.module, weights, inputs)
        wanted = {task.name for task in merged_by_fisher(plan.tasks)}
        leaves = {
            site.name: weights.setdefault(site.parameter, encoder.base(site.parameter).detach())
            for site in sites
            if site.name in wanted
        }
        if head is not None and read is not None:
            # A head that is merged too has information of its own.
            leaves |= {
                task.name: part
                for task in merged_by_fisher(plan.tasks)
                for info, part in ((head.weight, read.weight), (head.bias, read.bias))
                if info is not None and task.sources[place] == info
            }
        squares = Squares(leaves)
        random = generator("fisher", plan.recipe.seed, label)
        squared_gradients(encoder, weights, read, inputs, squares, self.labels, random)
        return squares.totals
