"""What else is made of models from Python: an adapter, a mixture of experts, a model with another tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mergeometry.execution.executor import chosen_executor

if TYPE_CHECKING:
    from mergeometry.execution.cluster import Ray
    from mergeometry.execution.run import Progress
    from mergeometry.results import Run
    from mergeometry.sink import RunRecord


def extract(
    base: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    rank: int | float | Literal["auto"],
    energy: float | None = None,
    other: Literal["all", "changed", "none"] = "changed",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dtype: str = "base",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Write the LoRA adapter that leads from ``base`` to ``model`` into the folder ``output``, whole or not at all.

    Matrices are truncated to ``rank``: a number, a share of the full rank, or "auto", which keeps the share ``energy``
    (0.95) of each squared norm. ``other`` says what becomes of norms, tables, heads and biases: what "changed" is
    written whole, or "all", or "none". ``include`` and ``exclude`` are globs over modules. The record's ``adapter``
    says what each module keeps.

    Raises:
        MergeometryError: the models do not fit together, or a value or the output does not; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.recipe.extraction import extraction_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    recipe = extraction_recipe(
        base, model, rank, energy=energy, other=other, include=include, exclude=exclude, dtype=dtype
    )
    plan = prepared_plan(recipe, Access(offline=offline))
    with chosen_executor(executor).opened() as opened:
        return execute(
            plan, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            progress=progress, executor=opened,
        )  # fmt: skip


def mixture(
    recipe: str | Path | Mapping[str, Any],
    *,
    output: str | Path,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    allow_pickle: bool = False,
) -> Run:
    """Put dense models together to a mixture of experts in the folder ``output`` (docs/mixtures.md).

    ``recipe`` is ours or mergekit-moe's. Gates from prompts run the base, which needs the extra `adapt`. Models on the
    hub are fetched as in `merge`.

    Raises:
        MergeometryError: something is wrong with the recipe, a model or the output; nothing was published.
    """
    from mergeometry.encoders.mixtures import open_models, write_mixture  # noqa: PLC0415  (needs torch)
    from mergeometry.recipe.mixture import load_mixture  # noqa: PLC0415
    from mergeometry.results import Run  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    models = open_models(load_mixture(recipe), Access(offline, allow_pickle))
    with chosen_executor(executor).opened() as opened:
        _, record = write_mixture(
            models, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            executor=opened,
        )  # fmt: skip
    return Run.of(record, output)


def transplant(
    model: str | Path,
    donor: str | Path,
    output: str | Path,
    *,
    rule: Literal["nearest", "omp", "mean"] = "nearest",
    neighbours: int | None = None,
    pad_to_multiple_of: int | None = None,
    dtype: str = "base",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Write ``model`` with the tokenizer of ``donor`` into the folder ``output``, whole or not at all.

    Rows of tokens that both have are copied. The others are made by the ``rule`` from the model's own rows: from the 8
    ``neighbours`` that are "nearest" in the donor's table, by orthogonal matching pursuit there ("omp"), or as the
    "mean" of the model's own tokens for the same text.

    Raises:
        MergeometryError: an input or a value is not usable, or the output is not; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.recipe.transplanting import transplant_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    recipe = transplant_recipe(
        model, donor, rule=rule, neighbours=neighbours, pad_to_multiple_of=pad_to_multiple_of, dtype=dtype
    )
    plan = prepared_plan(recipe, Access(offline=offline))
    with chosen_executor(executor).opened() as opened:
        return execute(
            plan, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            progress=progress, executor=opened,
        )  # fmt: skip
