"""The domains of the suite's language model, each read once, and a short training run."""

from functools import cache

import pytest

from mergeometry_suite.language_model.domains import DOMAINS, Texts
from mergeometry_suite.language_model.train import Regime

ENGLISH = (
    "The quick development of modern cities has changed the way people live. Many families moved from the "
    "countryside to find work, and they brought their traditions with them."
)
SHORT = Regime(steps=6, batch=4, validate_every=2, warmup=0.0)
every_domain = pytest.mark.parametrize("name", DOMAINS)


@cache
def texts_of(name: str) -> Texts:
    return DOMAINS[name].read()
