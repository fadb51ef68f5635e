"""Parallel forward and backward passes on threads and processes, summed so that their number changes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.encoders.batches import Chosen, pack
from mergeometry.encoders.contracting import contracted, contracting, make_contracting
from mergeometry.encoders.heads import Head
from mergeometry.encoders.language import OUTPUT, LanguageModel
from mergeometry.encoders.sites import Site
from mergeometry.learning.checkpointing import checkpoint_blocks
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.factors import CoefficientGradient, contracts
from mergeometry.learning.objective import AGREEMENT, Measured, Sum
from mergeometry.learning.scene import Scene, rotations_at, scene_precision, unique


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What all passes of a step share: merged weights, each task's rows in the step, and the rotations' matrices."""

    weights: Mapping[str, Tensor]
    totals: Sequence[int]
    turns: Mapping[int, Tensor]


class Passes:
    """Runs the passes of a step on ``workers`` threads, each with its own module that shares all weights."""

    def __init__(self, scene: Scene, workers: int) -> None:
        self._scene = scene
        self._modules: SimpleQueue[nn.Module] = SimpleQueue()
        layers: dict[str, type[nn.Module]] = {}
        for module in scene.merged.encoder.copies(workers):
            if scene.merged.encoder.device.type == "cpu":
                make_contracting(module)
            if scene.checkpointing:
                checkpoint_blocks(module)
            self._modules.put(module)
            layers = contracting(module)
        # The tensors whose coefficients take their gradient from factors.
        self.contracted = [
            site
            for site in scene.merged.sites
            if site.parameter in layers
            and not site.transposed
            and contracts(layers[site.parameter], scene.merged.tensors[site.name])
        ]
        self._threads = ThreadPoolExecutor(workers, "learning", initializer=torch.set_num_threads, initargs=(1,))

    def close(self) -> None:
        """Stop the threads after the passes that are running."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def gradients(self, chosen: Sequence[Chosen], table: CoefficientTable) -> Sum:
        """The objective on these inputs, with the gradients of all coefficients and rotations."""
        return self._run(chosen, table, partial(self._forward_backward, table))

    def values(self, chosen: Sequence[Chosen], table: CoefficientTable) -> Sum:
        """The objective on these inputs, without gradients."""
        return self._run(chosen, table, self._forward)

    def features(self, chosen: Sequence[Chosen], table: CoefficientTable) -> list[Float[Tensor, "rows d"]]:
        """Features of these inputs under the current coefficients, one tensor per input, in order."""
        scene = self._scene
        weights = scene.merged.weights(table, scene.dtype)
        packs = pack(chosen, scene.inputs, scene.merged.encoder.budget)
        computed = (self._features(part, weights) for part in scene.processes.mine(packs))
        features: dict[Chosen, Tensor] = {}
        for part, rows in zip(packs, scene.processes.in_order(len(packs), computed), strict=True):
            counts = [scene.inputs[one.task].rows[one.row] for one in part]
            features.update(zip(part, rows.split(counts), strict=True))
        return [features[one] for one in chosen]

    def _features(self, part: Sequence[Chosen], weights: Mapping[str, Tensor]) -> Float[Tensor, "rows d"]:
        encoder = self._scene.merged.encoder
        batch = encoder.batch([self._scene.inputs[one.task].items[one.row] for one in part])
        with torch.no_grad(), scene_precision(self._scene), self._module() as module:
            return encoder.features(module, weights, batch)

    def _run(
        self, chosen: Sequence[Chosen], table: CoefficientTable, work: Callable[[Sequence[Chosen], _Step], Sum]
    ) -> Sum:
        scene = self._scene
        totals = [0] * len(scene.inputs)
        for one in chosen:
            totals[one.task] += scene.inputs[one.task].rows[one.row]
        turns = {index: rotation.turn().detach() for index, rotation in unique(scene.rotations)}
        step = _Step(scene.merged.weights(table, scene.dtype), totals, turns)
        # The largest pack comes first, so that it does not keep one thread busy at the end. Sums follow this order,
        # whichever pass ends first.
        packs = pack(chosen, scene.inputs, scene.merged.encoder.budget)[::-1]
        jobs = deque(self._threads.submit(work, part, step) for part in scene.processes.mine(packs))
        result, tensors = Sum(), {}
        values: list[tuple[float, dict[tuple[int, str], float], list[tuple[float, float]]]] = []
        while jobs:
            done = jobs.popleft().result()
            # Processes exchange plain values, so those of the inputs go without their keys, in the pack's order.
            values.append((done.loss, done.terms, list(done.inputs.values())))
            for name, tensor in done.tensors().items():
                tensors[name] = tensors[name].add_(tensor) if name in tensors else tensor.double()
            del done
        result.take(scene.processes.added(tensors))
        computed = scene.processes.in_order(len(packs), iter(values))
        for part, (loss, terms, inputs) in zip(packs, computed, strict=True):
            result.add_values(loss, terms)
            result.inputs.update(zip(part, inputs, strict=bool(inputs)))
        return result

    def _forward(self, part: Sequence[Chosen], step: _Step) -> Sum:
        """The objective of a pass, input by input."""
        result = Sum()
        with torch.no_grad(), self._module() as module:
            features, rows = self._features_of(module, step.weights, part)
            heads = self._heads(step)
            for one, of_input in zip(part, features.split(rows), strict=True):
                measured = self._compared(of_input, [one], [len(of_input)], step, heads)
                result.add_values(float(measured.loss), measured.terms)
                result.add_sums(measured.sums)
                share = len(of_input) / step.totals[one.task]
                agreeing = measured.terms.get((one.task, AGREEMENT), share) / share
                result.inputs[one] = float(measured.loss) * len(step.totals) / share, 1 - agreeing
        return result

    def _forward_backward(self, table: CoefficientTable, part: Sequence[Chosen], step: _Step) -> Sum:
        gradients: dict[str, Tensor] = {}
        leaves = {name: weight.detach() for name, weight in step.weights.items()}

        def add(name: str, gradient: Tensor) -> None:
            gradients[name] = gradients[name] + gradient if name in gradients else gradient

        # With fixed coefficients no weight needs a gradient, and the backward pass ends at the features.
        for site in () if table.granularity == "fixed" else self._scene.merged.sites:
            leaf = leaves[site.parameter].requires_grad_()
            leaf.register_post_accumulate_grad_hook(self._contraction(site, table, partial(add, site.name)))
        factored = {
            site.parameter: CoefficientGradient(
                self._scene.merged.tensors[site.name], table.of(site.name), partial(add, site.name)
            )
            for site in self.contracted
        }
        turned = {index: turn.clone().requires_grad_() for index, turn in step.turns.items()}
        parameters = {name: leaf for name, leaf in leaves.items() if name != OUTPUT}

        def forward_backward(module: nn.Module) -> Measured:
            # Both passes run in one call under the given weights, so that checkpointing recomputes with those weights.
            measured = self._measure(module, {}, part, _Step(leaves, step.totals, turned))
            measured.loss.backward()
            return measured

        with torch.enable_grad(), self._module() as module, contracted(module, factored):
            measured = under(module, parameters, forward_backward)
        turn_gradients = {index: turn.grad for index, turn in turned.items() if turn.grad is not None}
        return Sum(float(measured.loss.detach()), dict(measured.terms), gradients, turn_gradients, dict(measured.sums))

    def _contraction(
        self, site: Site, table: CoefficientTable, add: Callable[[Tensor], None]
    ) -> Callable[[Tensor], None]:
        def contract(leaf: Tensor) -> None:
            # Contracted at once, so that the gradients of whole weights are never all in memory. There is none where
            # every use of the weight gives its factors instead.
            if leaf.grad is not None:
                add(self._scene.merged.pull_back(site, leaf.grad, table))
                leaf.grad = None

        return contract

    @contextmanager
    def _module(self) -> Iterator[nn.Module]:
        module = self._modules.get()
        try:
            yield module
        finally:
            self._modules.put(module)

    def _measure(self, module: nn.Module, given: Mapping[str, Tensor], part: Sequence[Chosen], step: _Step) -> Measured:
        features, rows = self._features_of(module, given, part)
        return self._compared(features, part, rows, step, self._heads(step))

    def _features_of(
        self, module: nn.Module, given: Mapping[str, Tensor], part: Sequence[Chosen]
    ) -> tuple[Float[Tensor, "rows d"], list[int]]:
        """The features of the inputs one after another, and how many rows each has."""
        scene, encoder = self._scene, self._scene.merged.encoder
        batch = encoder.batch([scene.inputs[one.task].items[one.row] for one in part])
        with scene_precision(scene):
            return encoder.features(module, given, batch), list(batch.rows)

    def _heads(self, step: _Step) -> Sequence[Head | None]:
        """The tasks' heads under a step's weights."""
        encoder = self._scene.merged.encoder
        if not isinstance(encoder, LanguageModel):
            return [terms.head for terms in self._scene.terms]
        # One head for all tasks, since a vocabulary in float32 is large.
        return [output_head(encoder.head_weight(step.weights))] * len(self._scene.terms)

    def _compared(
        self,
        features: Float[Tensor, "rows d"],
        part: Sequence[Chosen],
        rows: Sequence[int],
        step: _Step,
        heads: Sequence[Head | None],
    ) -> Measured:
        """The objective of inputs from their features."""
        scene = self._scene
        owners = [one.task for one, count in zip(part, rows, strict=True) for _ in range(count)]
        teachers = {
            task: torch.cat([scene.experts[task].of(one.row) for one in part if one.task == task]).to(features)
            for task in {one.task for one in part}
            if task in scene.experts
        }
        with rotations_at(scene.rotations, step.turns) as rotations:
            return scene.objective.measure(features, owners, teachers, scene.terms, rotations, step.totals, heads)


class _Under(nn.Module):
    """Runs a function of a module as a forward pass, so that functional_call can replace the weights."""

    def __init__(self, module: nn.Module, work: Callable[[nn.Module], Measured]) -> None:
        super().__init__()
        self.module, self._work = module, work

    def forward(self) -> Measured:
        return self._work(self.module)


def under(module: nn.Module, weights: Mapping[str, Tensor], work: Callable[[nn.Module], Measured]) -> Measured:
    """The result of ``work`` on the module while it holds the given weights."""
    named = {f"module.{name}": weight for name, weight in weights.items()}
    return torch.func.functional_call(_Under(module, work), named, ())


def output_head(weight: Float[Tensor, "vocabulary d"]) -> Head:
    """A language model's output layer as a head."""
    return Head(weight.float(), torch.zeros(len(weight), device=weight.device))
