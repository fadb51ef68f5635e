"""The language model with everything that rows of the benchmark share: texts, encoder, experts' features, scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.base import Inputs
from mergeometry.encoders.batches import Chosen, pack
from mergeometry.encoders.language import LanguageModel
from mergeometry.encoders.library import import_transformers
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.encoders.tokens import Tokens
from mergeometry.inputs import UnlabelledData
from mergeometry.learning import build_learner as building
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.experts import ExpertFeatures
from mergeometry.learning.from_plan import Prepared, prepare
from mergeometry.learning.learned import start_of
from mergeometry.learning.merged import MergedModel, load_learnables
from mergeometry.learning.precision import dtype_of
from mergeometry.learning.rotation import TaskRotation
from mergeometry.learning.run import load_inputs
from mergeometry.plan import make_plan
from mergeometry.plan.plan import Plan
from mergeometry.recipe import load_recipe
from mergeometry_suite.language_model.backbone import TOKENS, language_backbone
from mergeometry_suite.language_model.command import find_domain, load_language_expert

CPU = torch.device("cpu")
DOMAINS = ("newswire", "tweets", "reviews", "messages")
"""The domains that the page was measured on; the suite has gained others since."""


def write_texts(folder: Path) -> None:
    """The training texts of each domain as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOMAINS:
        place = folder / f"{name}.jsonl"
        if not place.is_file():
            lines = [json.dumps({"text": text}) for text in find_domain(name).read().train]
            place.write_text("\n".join(lines) + "\n", "utf-8")


def recipe_of(
    texts: Path, limit: int, tokens: int, method: str, scale: float, section: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """The recipe of a row, as a user would write it."""
    tasks = [{"name": name, "data": {"path": str(texts / f"{name}.jsonl"), "limit": limit}} for name in DOMAINS]
    return {
        "base": str(language_backbone()),
        "models": [{"path": str(load_language_expert(name).folder), "name": name} for name in DOMAINS],
        "method": method,
        "scale": scale,
        "seed": seed,
        # A run this short is used as it ends: nothing is held out to stop it early.
        "adapt": {"held_out": 0, "encoder": {"max_length": tokens}, **section, "tasks": tasks},
    }


class Laboratory:
    """Built once: the base model, each domain's texts, and each expert's features of its own training texts."""

    def __init__(self, texts: Path, settings: Mapping[str, Any]) -> None:
        self._texts, self._settings = texts, settings
        self.names = list(DOMAINS)
        self._plan = self.plan("task_arithmetic", 1.0, {"objective": "distill"}, 0)
        section = self._plan.recipe.adapt
        assert section is not None
        self._data, encoder, self._heads = load_inputs(self._plan, section, CPU, _silent)
        assert isinstance(encoder, LanguageModel)
        self.encoder, self.dtype = encoder, dtype_of("auto", CPU)
        self.sites = sites_of(self._plan, encoder)
        self._splits = {name: self._read(name) for name in ("validation", "test")}
        self.experts_seconds = 0.0
        self._known: dict[Any, ExpertFeatures] = {}
        self._features = building.expert_features
        building.expert_features = self._expert_features  # the same for every row: computed once

    def plan(self, method: str, scale: float, section: Mapping[str, Any], seed: int) -> Plan:
        """The plan of a row."""
        return make_plan(load_recipe(self.recipe(method, scale, section, seed)))

    def recipe(self, method: str, scale: float, section: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The recipe of a row."""
        return recipe_of(self._texts, self._settings["texts"], self._settings["tokens"], method, scale, section, seed)

    def prepare(self, method: str, scale: float, section: Mapping[str, Any], seed: int) -> Prepared:
        """A row that is ready to be learned."""
        plan = self.plan(method, scale, section, seed)
        assert plan.recipe.adapt is not None
        return prepare(plan, plan.recipe.adapt, self.encoder, self._data, self._heads, workers=1, say=_silent)

    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return import_transformers().AutoTokenizer.from_pretrained(language_backbone(), local_files_only=True)

    def merged(self, method: str, scale: float) -> dict[str, Tensor]:
        """The weights of a merge without data."""
        plan = self.plan(method, scale, {"objective": "distill"}, 0)
        tensors = load_learnables(plan)
        table = CoefficientTable("fixed", tensors, start_of(plan))
        return MergedModel(self.encoder, tensors, self.sites).weights(table, self.dtype)

    def score(
        self, weights: Mapping[str, Tensor], split: str, rotation: TaskRotation | None = None
    ) -> dict[str, float]:
        """Mean negative log-likelihood of a token, by domain."""
        return {name: self.score_domain(name, weights, split, rotation) for name in self.names}

    def score_experts(self, split: str) -> dict[str, float]:
        """The same of each domain under its own expert."""
        found = {}
        for number, name in enumerate(self.names):
            weights = dict(expert_weights(self._plan, number, self.encoder, self.sites))
            found[name] = self.score_domain(name, weights, split)
        return found

    def score_domain(
        self,
        name: str,
        weights: Mapping[str, Tensor],
        split: str,
        rotation: TaskRotation | None = None,
        run: Callable[[Mapping[str, Any]], Float[Tensor, "texts tokens vocabulary"]] | None = None,
    ) -> float:
        """The same of one domain; ``run`` replaces the encoder: any model's logits."""
        inputs = self._splits[split][name]
        given = {key: value.to(self.dtype) for key, value in weights.items()}
        total, everything = 0.0, [Chosen(0, row) for row in range(len(inputs))]
        with torch.no_grad():
            for part in pack(everything, [inputs], self.encoder.budget):
                batch = self.encoder.batch([inputs.items[one.row] for one in part])
                tokens, mask = batch.arguments["input_ids"], batch.arguments["attention_mask"][:, 1:].bool()
                with torch.autocast("cpu", torch.bfloat16, enabled=run is None and self.dtype == torch.bfloat16):
                    rows = None if run else self.encoder.features(self.encoder.module, given, batch)
                if rows is None:
                    assert run is not None
                    logits = run(batch.arguments)[:, :-1][mask]
                else:
                    turned = rows if rotation is None else rotation(rows)
                    logits = turned @ self.encoder.head_weight(weights).float().mT
                wanted = tokens[:, 1:][mask]
                total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        return total / sum(inputs.rows)

    def _read(self, split: str) -> dict[str, Inputs]:
        found, tokens = {}, Tokens(language_backbone(), TOKENS)
        for name in DOMAINS:
            texts = getattr(find_domain(name).read(), split)[: self._settings[split]]
            pieces = tokens.pieces(UnlabelledData(tuple(texts), "texts", (), ""), shortest=2)
            found[name] = Inputs(pieces, tuple(map(len, pieces)), tuple(len(piece) - 1 for piece in pieces))
        return found

    def _expert_features(self, encoder: Any, weights: Any, inputs: Any, *rest: Any) -> ExpertFeatures:
        key = tuple(map(tuple, inputs.items))
        if key not in self._known:
            started = time.process_time()
            self._known[key] = self._features(encoder, weights, inputs, *rest)
            self.experts_seconds += time.process_time() - started
        return self._known[key]


def peak_from_here() -> Callable[[], int]:
    """Reset the largest resident size; the returned function gives the largest since."""
    Path("/proc/self/clear_refs").write_text("5")

    def largest() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

    return largest


def _silent(_text: str, _done: int, _total: int) -> None:
    pass
