"""A language model's expert on disk: a PEFT adapter in 16 bit, and the record of where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.errors import DataError
from mergeometry_suite.adapters import ADAPTER, CONFIG, read_adapter
from mergeometry_suite.language_model.backbone import plain_language_model
from mergeometry_suite.language_model.domains import Domain, find_domain
from mergeometry_suite.language_model.train import pack_around_adapter
from mergeometry_suite.staging import PROVENANCE, read_provenance

SHIPPED = Path(__file__).parent / "experts"


@dataclass(frozen=True)
class LanguageExpert:
    """A trained expert: ``folder`` is a PEFT adapter of the suite's language model."""

    domain: Domain
    folder: Path
    provenance: dict[str, Any]


def load_language_expert(domain: str, folder: Path | None = None) -> LanguageExpert:
    """Return the expert of a domain: the one that ships with the project, or the one trained into ``folder``.

    Raises:
        DataError: there is no such domain, or no whole expert in the folder.
    """
    text_domain = find_domain(domain)
    folder = SHIPPED / domain if folder is None else folder
    if not is_complete(folder):
        raise DataError(
            f"there is no trained expert of {domain!r}",
            file=folder,
            hint=f"train it: mergeometry suite train-language-model {domain}",
        )
    return LanguageExpert(text_domain, folder, read_provenance(folder))


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a whole expert."""
    return all((folder / name).is_file() for name in (ADAPTER, CONFIG, PROVENANCE))


def load_adapter(backbone: Path, folder: Path) -> Any:
    """Build the language model with an expert's adapter on top of its weights, through PEFT."""
    model = read_adapter(plain_language_model(backbone), folder)
    pack_around_adapter(model)
    return model
