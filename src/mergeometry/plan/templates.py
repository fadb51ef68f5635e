"""Settles `chat_template: auto`: the model whose template the output gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from mergeometry.plan.tokenizers import tokenizer_of
from mergeometry.recipe import Recipe
from mergeometry.recipe.tokenizer import AUTO_TEMPLATE
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.files import naming_model


def with_template_settled(recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> Recipe:
    """The recipe with a model's name in place of `auto`: the first that has the template that most of them have.

    Raises:
        SourceError: a tokenizer's file is malformed.
    """
    if recipe.chat_template != AUTO_TEMPLATE:
        return recipe
    templates: dict[str, str] = {}
    for model in (base, *models):
        with naming_model(model.label):
            tokenizer = tokenizer_of(model)
        if tokenizer is not None and tokenizer.template:
            template = tokenizer.template
            templates[model.label] = json.dumps(template.strip() if isinstance(template, str) else template)
    counts = Counter(templates.values())
    name = max(templates, key=lambda label: counts[templates[label]], default=base.label)
    return recipe.model_copy(update={"chat_template": name})
