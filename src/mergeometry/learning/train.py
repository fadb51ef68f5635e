"""The learning loop: Adam on coefficients and rotations, which keeps the best state on held-out inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.batches import Chosen, Sampler
from mergeometry.learning.class_means import ClassMeans
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.divergence import refuse_divergence, skewness
from mergeometry.learning.forward_backward import Passes, Sum
from mergeometry.learning.held_out import ByInput, HeldOut
from mergeometry.learning.losses import class_sums
from mergeometry.learning.parameters import Parameters
from mergeometry.learning.scene import Scene, unique
from mergeometry.learning.stages import PAIRS_FROM, check_every, stages_of
from mergeometry.learning.state import Point, Report, State
from mergeometry.recipe.adapt import LearningSettings


class Learner:
    """Learns the parameters of a table and the scene's rotations on the given rows.

    ``learn`` may stop at any step and resume from a `snapshot`: the result is the same to the bit.
    """

    def __init__(
        self,
        scene: Scene,
        table: CoefficientTable,
        section: LearningSettings,
        rows: Sequence[Sequence[int]],
        held_out: Sequence[Sequence[int]],
        rates: tuple[float, float],
        seed: int,
        labels: Sequence[str],
        workers: int = 1,
    ) -> None:
        self.scene, self.table, self._section, self.labels = scene, table, section, labels
        inputs = sum(len(task_rows) for task_rows in (*rows, *held_out)) / len(rows)
        self._stages, self._check_every = stages_of(section, table.widest, inputs), check_every(section)
        self._chooses = section.coefficients == "auto"
        self._few = self._chooses and inputs < PAIRS_FROM
        self._sampler = Sampler(rows, section.batch_size, seed)
        self.held_out = HeldOut([Chosen(task, row) for task, task_rows in enumerate(held_out) for row in task_rows])
        self._passes = Passes(scene, workers)
        self._rotations = dict(unique(scene.rotations))
        self._rotation_rate = rates[1]
        self._parameters = Parameters(table, self._rotations, labels, fixed=section.coefficients == "fixed")
        self.means = ClassMeans(scene.terms) if section.weights.beta else None
        self.state = State()
        self._kept_step = 0

    def start(self, features: Sequence[Float[Tensor, "n d"]]) -> None:
        """Estimate the class means from each task's features under the starting coefficients, before any rotation."""
        if self.means is not None:
            for task, (task_features, terms) in enumerate(zip(features, self.scene.terms, strict=True)):
                assert terms.head is not None
                predicted = terms.head.predict(task_features)
                self.means.add({task: class_sums(task_features, predicted, len(terms.head.bias))})

    def learn(self, report: Report, keep: Callable[[State], None]) -> State:
        """Run to the last step, or until held-out inputs stop improving; then restore the best state.

        ``keep`` is called with the state at every check, to save it.

        Raises:
            NumericalError: the objective or a gradient is not finite; the saved state is that of the last check.
        """
        try:
            if not self.state.points:
                if self.held_out:
                    self._check(Point(0, math.nan, {}), report)
                self._keep(keep)
            # Where coefficients are chosen by held-out inputs, without any nothing can be chosen.
            while self.held_out or not self._chooses:
                self._run_stage(report, keep)
                if self.state.stage + 1 == len(self._stages):
                    break
                self._next_stage()
            self._restore_best()
        finally:
            self._passes.close()
        return self.state

    def _run_stage(self, report: Report, keep: Callable[[State], None]) -> None:
        last = self.state.stage_first + self._stages[self.state.stage].steps
        while self.state.step < last and not self._out_of_patience():
            point = self._step()
            self.state.step += 1
            if self.state.step % self._check_every == 0 or self.state.step == last:
                self._check(point, report)
                self._keep(keep)
            else:
                self.state.points.append(point)
                report(point)

    def _next_stage(self) -> None:
        """Give the best coefficients so far to the finer ones of the next stage."""
        self._restore_best()
        self.state.stage, self.state.stage_first, self.state.waited = self.state.stage + 1, self.state.step, 0
        self.state.lowest = self.state.best
        self.held_out.next_stage()
        self._parameters.refine(self._stages[self.state.stage].granularity)

    def _keep(self, keep: Callable[[State], None]) -> None:
        keep(self.snapshot())
        self._kept_step = self.state.step

    def _out_of_patience(self) -> bool:
        # Few inputs make a short course, and its last steps, which are small, are its best.
        if self._few and "patience" not in self._section.model_fields_set:
            return False
        return self._section.stops_early and self.state.waited >= self._section.patience

    def snapshot(self) -> State:
        """The current state with every tensor that a resumed run needs."""
        tensors = self._parameters.tensors()
        tensors |= {name: value for name, value in self.state.tensors.items() if name.startswith("best/")}
        tensors |= self.held_out.tensors()
        if self.means is not None:
            tensors |= self.means.tensors()
        self.state.tensors = tensors
        return self.state

    def take(self, state: State) -> None:
        """Restore a state that `snapshot` returned."""
        self.state, self._kept_step = state, state.step
        if state.stage:
            self._parameters.become(self._stages[state.stage].granularity)
        self._parameters.take(state.tensors)
        self.held_out.take(state.tensors)
        if self.means is not None:
            self.means.take(state.tensors)

    def _step(self) -> Point:
        number = self.state.step
        stage = self._stages[self.state.stage]
        share = (number - self.state.stage_first) / stage.steps
        # A half cosine: steps shrink towards the end, where the last state would otherwise be noisy.
        rates = [rate * 0.5 * (1 + math.cos(math.pi * share)) for rate in (stage.rate, self._rotation_rate)]
        result = self._passes.gradients(self._sampler.step(number), self.table)
        # Checked first, so that no decomposition sees a number that is not finite.
        refuse_divergence(number + 1, self._kept_step, result.loss)
        if self.means is not None:
            self.means.add(result.sums)
        self._parameters.forget_gradients()
        for key, gradient in self.table.gather(result.coefficients).items():
            self.table.parameters[key].grad = gradient
        rotation = self._turn_back(result)
        loss = result.loss + self._section.weights.beta * rotation
        refuse_divergence(number + 1, self._kept_step, loss, self._parameters.gradients())
        self._parameters.step(*rates)
        return Point(number + 1, loss, self._named(result, rotation))

    def _turn_back(self, result: Sum) -> float:
        """Set the gradients of the rotations' coordinates; return the mean distance from the Procrustes targets."""
        distance, tasks = 0.0, len(self.scene.terms)
        for index, rotation in self._rotations.items():
            turn = rotation.turn()
            loss = (turn * result.turns[index].to(turn)).sum() if index in result.turns else turn.sum() * 0.0
            if self.means is not None:
                with rotation.held(turn):
                    share = rotation.distance(self.means.target(index, rotation)) / tasks
                loss = loss + self._section.weights.beta * share
                distance += float(share.detach())
            loss.backward()
        return distance

    def _check(self, point: Point, report: Report) -> None:
        """Record the point, with the objective on held-out inputs under the current parameters where there are any.

        Every saved state has thus been run: a step too far shows only in the next forward pass.
        """
        state = self.state
        inputs = self.held_out.inputs or self._sampler.step(point.step - 1)
        result = self._passes.values(inputs, self.table)
        errors = [skewness(rotation) for rotation in self._rotations.values()]
        refuse_divergence(point.step, self._kept_step, result.loss, errors)
        value = result.loss + self._section.weights.beta * self._distance()
        # The main process's value, so that all stop at the same step even where machines round differently.
        value = self.scene.processes.from_main(lambda: value)
        if self.held_out:
            by_task = {
                label: {name: value for (index, name), value in result.terms.items() if index == task}
                for task, label in enumerate(self.labels)
            }
            point = Point(point.step, point.loss, point.terms, value, by_task)
        else:
            # Without held-out inputs no state is better than another, so the last one counts as the best.
            value = -float(point.step)
        state.points.append(point)
        state.waited = 0 if value < state.lowest else state.waited + 1
        state.lowest = min(value, state.lowest)
        if value < state.best and self._counts(result.inputs):
            state.best, state.best_step, state.best_stage = value, point.step, state.stage
            kept = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("best/")}
            state.tensors = kept | self._parameters.best()
        report(point)

    def _counts(self, values: ByInput) -> bool:
        """Whether a lower held-out objective counts: beyond chance, where held-out inputs choose the coefficients."""
        if not self.held_out:
            return True
        # The main process's values, as its objective is the one that counts.
        inputs = self.held_out.inputs
        mains = self.scene.processes.from_main(lambda: [values[one] for one in inputs])
        values = dict(zip(inputs, mains, strict=True))
        counts = self.held_out.is_better(values) or not self._chooses
        if counts:
            self.held_out.keep(values)
        return counts

    def _distance(self) -> float:
        if self.means is None:
            return 0.0
        with torch.no_grad():
            distances = [r.distance(self.means.target(index, r)) for index, r in self._rotations.items()]
        return float(sum(distances)) / len(self.scene.terms) if distances else 0.0

    def _restore_best(self) -> None:
        if (best := self._stages[self.state.best_stage].granularity) != self.table.granularity:
            self._parameters.become(best)
        self._parameters.take_best(self.state.tensors)

    def _named(self, result: Sum, rotation: float) -> dict[str, float]:
        tasks = len(self.scene.terms)
        named: dict[str, float] = {}
        for (_, name), value in sorted(result.terms.items()):
            named[name] = named.get(name, 0.0) + value / tasks
        if self.means is not None:
            named["rotation"] = rotation
        return named
