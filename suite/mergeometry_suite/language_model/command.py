"""The functions behind ``mergeometry suite train-language-model``: retrain the expert of a domain."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergeometry_suite.adapters import write_adapter
from mergeometry_suite.language_model.backbone import NAME, TOKENS, build_language_model, language_backbone
from mergeometry_suite.language_model.domains import DOMAINS, Domain, Texts, find_domain
from mergeometry_suite.language_model.experts import (
    is_complete,
    load_adapter,
    load_language_expert,
)
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.language_model.train import Regime, Trained, train_adapter
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.packages import SMOLLM
from mergeometry_suite.staging import refuse_foreign, staged, write_provenance

__all__ = ["find_domain", "list_domains", "load_language_expert", "train_language_expert"]


def list_domains() -> tuple[Domain, ...]:
    """Return the domains of the language model, in the order in which they are always shown."""
    return tuple(DOMAINS.values())


def train_language_expert(
    domain: str,
    output: Path,
    progress: Callable[[str], None] | None = None,
    *,
    regime: Regime | None = None,
    overwrite: bool = False,
) -> Path:
    """Train the adapter of a domain and write the expert into ``output``, which appears whole or not at all.

    An expert that is already there is left alone unless ``overwrite``, so that an interrupted run over many domains
    resumes where it stopped.

    Raises:
        DataError: there is no such domain, or its texts or the model cannot be fetched.
        OutputError: ``output`` holds something else.
    """
    say = progress or (lambda _message: None)
    text_domain, regime = find_domain(domain), regime or Regime()
    if is_complete(output) and not overwrite:
        say(f"{domain}: already trained")
        return output
    refuse_foreign(output, is_complete)
    folder, texts = language_backbone(progress), text_domain.read()
    base = score_language_model(build_language_model(folder), folder, texts)
    say(f"{domain}: base: validation perplexity {base['validation']:.1f}")
    trained = train_adapter(
        folder,
        texts,
        regime,
        lambda check: say(
            f"{domain}: step {check.step}/{regime.steps}: loss {check.loss:.3f}, "
            f"validation perplexity {check.validation:.1f}"
        ),
    )
    with staged(output) as place:
        write_adapter(trained.model, place)
        scores = {"base": base, "expert": score_language_model(load_adapter(folder, place), folder, texts)}
        write_provenance(place, _provenance(text_domain, texts, regime, trained, scores))
    return output


def score_language_model(model: Any, backbone: Path, texts: Texts) -> dict[str, float]:
    """Return the perplexities of a language model on the held-out texts of a domain."""
    tokenizer = Tokenizer(backbone, TOKENS)
    return {
        name: round(perplexity(model, tokenizer.prepare(split)), 3)
        for name, split in (("validation", texts.validation), ("test", texts.test))
    }


def _provenance(
    domain: Domain, texts: Texts, regime: Regime, trained: Trained, scores: dict[str, dict[str, float]]
) -> dict[str, Any]:
    return {
        "domain": domain.name,
        "title": domain.title,
        "command": f"mergeometry suite train-language-model {domain.name}",
        "backbone": {
            "name": NAME,
            "weights": "de-quantised from Q4_1 GGUF to float32",
            "package": SMOLLM.requirement,
            "sha256": SMOLLM.sha256,
            "licence": SMOLLM.licence,
        },
        "data": {
            "package": domain.package.requirement,
            "sha256": domain.package.sha256,
            "licence": domain.package.licence,
            "texts": {name: len(getattr(texts, name)) for name in ("train", "validation", "test")},
            "tokens": TOKENS,
        },
        "regime": asdict(regime),
        "checks": [asdict(check) for check in trained.checks],
        "kept_step": trained.best.step,
        "perplexity": scores,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mergeometry", "torch", "transformers", "peft", "gguf")},
        },
    }
