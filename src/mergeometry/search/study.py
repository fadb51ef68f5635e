"""Optuna's study of one search, in a file of its own format: what was tried, and what to try next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.search.space import Parameter, Space, Values


def require_optuna() -> None:
    """Refuse a search where Optuna is not installed.

    Raises:
        RecipeError: it is not.
    """
    try:
        import optuna  # noqa: F401, PLC0415
    except ImportError as error:
        raise RecipeError(
            "`search:` needs Optuna, which is not installed",
            hint="pip install 'mergeometry[search]'; `scale: {grid: ...}` needs nothing more",
        ) from error


class Study:
    """Trials asked for and told in turn; the same seed and scores lead to the same trials, in one sitting or more."""

    def __init__(self, file: Path, identity: str, space: Space, seed: int) -> None:
        """Open the study in a file, or start one; ``identity`` is all that its scores depend on."""
        import optuna  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for lock in file.parent.glob(f"{file.name}.lock*"):  # of a killed run: the folder has one run at a time
            lock.unlink(missing_ok=True)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        self._optuna, self._seed = optuna, seed
        self._study = optuna.create_study(
            storage=storage, study_name=identity, direction="maximize", load_if_exists=True
        )
        self._distributions = {one.name: _distribution(optuna, one) for one in space.parameters}
        for trial in self._study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        self._start = space.start

    @property
    def finished(self) -> list[tuple[Values, float]]:
        """The values and the score of every finished trial, in turn."""
        return [(dict(one.params), one.value) for one in self._complete if one.value is not None]

    @property
    def seconds(self) -> float:
        """What the finished trials took, by the clock."""
        return sum(one.duration.total_seconds() for one in self._complete if one.duration is not None)

    def ask(self) -> tuple[int, Values]:
        """Optuna's number of the next trial, and its values: first the recipe as it is written."""
        done = len(self._complete)
        # A sampler of its own for each trial, so that a search that was interrupted goes on as if it had not been.
        seed = int.from_bytes(hashlib.sha256(f"{self._seed} {done}".encode()).digest()[:4], "big")
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
        if done == 0:
            self._study.enqueue_trial(self._start)
        trial = self._study.ask(fixed_distributions=self._distributions)
        return trial.number, dict(trial.params)

    def tell(self, number: int, score: float) -> None:
        """Keep the score of a trial."""
        self._study.tell(number, score)

    @property
    def _complete(self) -> Sequence[Any]:
        return self._study.get_trials(deepcopy=False, states=[self._optuna.trial.TrialState.COMPLETE])


def _distribution(optuna: Any, one: Parameter) -> Any:
    if one.choices:
        return optuna.distributions.CategoricalDistribution(one.choices)
    if isinstance(one.low, int) and isinstance(one.high, int):
        return optuna.distributions.IntDistribution(one.low, one.high)
    return optuna.distributions.FloatDistribution(one.low, one.high, log=one.logarithmic)
