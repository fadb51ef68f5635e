"""How an adapter holds a merge: which tensors become factors, which biases, and which modules are written whole.

| tensor | in the adapter |
| --- | --- |
| the weight of a linear layer, low-rank or truncated to a rank | `lora_A`, `lora_B` |
| the weight of a convolution, where adapters change it or the base is a model of diffusers | `lora_A`, `lora_B` |
| an embedding that adapters change by factors | `lora_embedding_A`, `lora_embedding_B` |
| some rows of a table | `trainable_tokens_delta`, with `trainable_token_indices` |
| a bias | the bias itself, as PEFT stores it with `bias: all` |
| all else | its module, whole, as PEFT stores it with `modules_to_save` |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from mergeometry.conventions.kinds import is_matrix
from mergeometry.errors import MismatchError
from mergeometry.plan.adapter_choice import chosen
from mergeometry.plan.adapter_rank import full_rank, highest
from mergeometry.plan.adapter_task import names_in_adapter, task_type
from mergeometry.plan.compare import source_of
from mergeometry.plan.matching import Match, module_ends
from mergeometry.recipe import AdapterOutput
from mergeometry.recipe.adapter_output import Rank
from mergeometry.sink import PREFIX, AdapterModule, OutputTensor, adapter_tensors, common_component, lora_tensors
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo
from mergeometry.sources.updates import ConvolutionUpdate, DoraUpdate

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.plan.tasks import Source

Stored: TypeAlias = Literal["factors", "embedding factors", "bias", "module", "nothing"]

_RANK_HINT = "output: {adapter: {rank: 16}} truncates it to that rank"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a merge was measured to change: squared norms, and what each tensor's leading ranks keep of them."""

    energy: float
    """Of the whole update."""
    left_out: Mapping[str, float]
    """Of tensors that the adapter does not hold, largest first."""
    unchanged: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]
    """Singular values of matrices, where they were measured."""


@dataclass(frozen=True, slots=True)
class AdapterForm:
    """The form of every tensor of the base in an adapter, by the base's name for it."""

    rank: Rank | None
    """The rank to truncate to, None for the exact one."""
    stored: Mapping[str, Stored]
    names: Mapping[str, str]
    """The base's name to the name in the adapter, which is that of the inputs where they agree."""
    modules: tuple[str, ...]
    """Modules that are written whole, by their names in the adapter."""
    task_type: str | None
    layout: Literal["peft", "diffusers", "kohya"] = "peft"
    """Whose names the tensors have."""
    component: str = ""
    """The model that a file of diffusers or kohya is for."""
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Rows of tables that are written in place of the whole, by the table's name in the base."""
    survey: Survey | None = None
    """What was measured beforehand and decided by it."""

    @property
    def biases(self) -> bool:
        """Whether a bias is written."""
        return "bias" in self.stored.values()

    @property
    def tokens(self) -> dict[str, tuple[int, ...]]:
        """Rows of tables by their modules' names in the adapter."""
        return {self.module(name): rows for name, rows in self.rows.items()}

    def module(self, name: str) -> str:
        """The module of a tensor, by its name in the adapter."""
        return self.names[name].rpartition(".")[0]

    def outputs(
        self, name: str, info: TensorInfo, method: Method, sources: Sequence[Source], shape: Sequence[int], code: str
    ) -> tuple[OutputTensor, ...]:
        """The tensors that hold a merged tensor; ``shape`` is (outputs, inputs) for matrices.

        Raises:
            ValueError: an adapter cannot hold it; the message fits after "tensor X: ".
        """
        stored = self.stored[name]
        if stored == "nothing":
            return ()
        if self.rank is None:
            if any(isinstance(source, TensorInfo) for source in sources) and stored == "factors":
                raise ValueError(f"a model holds the tensor itself, so its update is not low-rank; {_RANK_HINT}")
            if "factors" in stored and any(isinstance(source, DoraUpdate) for source in sources):
                raise ValueError(f"a model's update by DoRA is not low-rank; {_RANK_HINT}")
            if "factors" in stored and not method.stays_low_rank:
                raise ValueError(f"the method's result is not low-rank, so an adapter cannot hold it; {_RANK_HINT}")
        if stored in ("factors", "embedding factors"):
            return self.factor_pair(name, shape, self._rank_of(info, method, sources), code)
        if not self.module(name):
            raise ValueError("it belongs to no module that an adapter could hold as a whole")
        return self.copies(name, info, code)

    def copies(self, name: str, info: TensorInfo, code: str) -> tuple[OutputTensor, ...]:
        """The tensor itself if it is written whole, else nothing."""
        if self.stored[name] == "bias":
            adapted = f"{name.removesuffix('.bias')}.weight"
            wrapped = ".base_layer" * ("factors" in self.stored.get(adapted, ""))
            return (OutputTensor(f"{PREFIX}{self.module(name)}{wrapped}.bias", code, info.shape),)
        if self.stored[name] == "module":
            return (OutputTensor(f"{PREFIX}{self.names[name]}", code, info.shape),)
        return ()

    def factors(self, name: str, shape: Sequence[int], rank: int) -> AdapterModule:
        """The adapted module for a tensor; ``shape`` is that of its task vectors."""
        embedding = self.stored[name] == "embedding factors"
        outputs, inputs = reversed(shape[:2]) if embedding else shape[:2]
        return AdapterModule(self.module(name), rank, outputs, inputs, embedding, tuple(shape[2:]))

    def factor_pair(self, name: str, shape: Sequence[int], rank: int, code: str) -> tuple[OutputTensor, ...]:
        """The two factors of this rank that hold a merged tensor."""
        module = self.factors(name, shape, rank)
        if self.layout == "peft":
            return tuple(adapter_tensors([module], code))
        return tuple(lora_tensors([module], code, self.layout, self.component))

    def _rank_of(self, info: TensorInfo, method: Method, sources: Sequence[Source]) -> int:
        """The sum of the inputs' ranks, or less if the recipe asks."""
        full = full_rank(info.shape)
        ranks = [
            source.rank if isinstance(source, AdapterDelta | ConvolutionUpdate) else None
            for source in sources
            if source is not None
        ]
        known = [rank for rank in ranks if rank is not None]
        exact = full if not method.stays_low_rank or len(known) < len(ranks) else min(sum(known), full)
        return min(exact, highest(self.rank, full))


def adapter_form(
    wanted: bool | AdapterOutput,
    base: Checkpoint,
    models: Sequence[Checkpoint | Adapter],
    matches: Sequence[Match],
    tables: Container[str],
    own: Container[str] = (),
) -> AdapterForm | None:
    """Decide the form of every tensor, None where no adapter is wanted.

    ``tables`` are not linear maps, and what is a model's ``own`` is written whole.

    Raises:
        MismatchError: a module would have to be adapted and written whole.
        RecipeError: a glob of the recipe matches no tensor.
    """
    if not wanted:
        return None
    linear = {name for name, info in base.tensors.items() if is_matrix(name, info.shape) and name not in tables}
    if isinstance(wanted, AdapterOutput) and "_class_name" in (base.config or {}):
        # In other models a convolution may have groups, which its weight does not show; diffusers' have none.
        linear |= {name for name, info in base.tensors.items() if len(info.shape) > 2 and 1 not in info.shape[:2]}
    stored: dict[str, Stored] = {}
    for name in base.tensors:
        sources = [source_of(model, match.pairs.get(name)) for model, match in zip(models, matches, strict=True)]
        from_adapters = [isinstance(model, Adapter) for model in models]
        stored[name] = "module" if name in own else _stored(name, sources, from_adapters, linear=name in linear)
    task = task_type(models, [name.rpartition(".")[0] for name, form in stored.items() if form == "module"])
    names = names_in_adapter(base.tensors, models, matches, of_task=task is not None)
    if isinstance(wanted, AdapterOutput):
        kept = chosen(wanted, list(base.tensors))
        stored = {name: form if name in kept else "nothing" for name, form in stored.items()}
    modules = saved_modules({names[name] for name, form in stored.items() if form == "module"}, names.values())
    reasons = []
    for name, form in stored.items():
        owner = next((module for module in modules if names[name].startswith(f"{module}.")), None)
        if owner is None:
            continue
        if "factors" in form:
            reasons.append(f"tensor {name!r}: its module {owner!r} is changed as a whole and by factors")
        stored[name] = "module"
    if reasons:
        raise MismatchError("an adapter cannot hold this merge", reasons)
    if not isinstance(wanted, AdapterOutput):
        return AdapterForm(None, stored, names, modules, task)
    if wanted.format == "peft":
        return AdapterForm(wanted.rank, stored, names, modules, task)
    component = common_component(
        [model.component for model in models if isinstance(model, Adapter)],
        str((base.config or {}).get("_class_name", "")),
    )
    form = AdapterForm(wanted.rank, stored, names, modules, task, wanted.format, component)
    _refuse_other_forms(form, wanted)
    return form


def _refuse_other_forms(form: AdapterForm, wanted: AdapterOutput) -> None:
    """Refuse what only PEFT's format holds, unless it is to be left out; and names that are one in kohya's."""
    kept = [name for name, stored in form.stored.items() if stored not in ("factors", "nothing")]
    if kept and wanted.other != "none":
        raise MismatchError(
            f"the format {form.layout!r} holds factors of matrices and convolutions only",
            [f"tensor {name!r}: would be written whole or as factors of a table" for name in kept],
            hint="output: {adapter: {other: none}} leaves them out, and a note says what that loses; PEFT's format "
            "holds them",
        )
    modules = [form.module(name) for name, stored in form.stored.items() if stored == "factors"]
    short = Counter(module.replace(".", "_") for module in modules)
    twice = [module for module in modules if form.layout == "kohya" and short[module.replace(".", "_")] > 1]
    if twice:
        raise MismatchError("kohya's names cannot tell these modules apart", twice, hint="choose format: diffusers")


def _stored(name: str, sources: Sequence[Source], from_adapters: Sequence[bool], *, linear: bool) -> Stored:
    if all(source is None for source in sources):
        return "nothing"
    thin = all(source is None or isinstance(source, AdapterDelta) for source in sources)
    thin |= all(source is None or isinstance(source, ConvolutionUpdate) for source in sources)
    replaced = any(
        isinstance(source, TensorInfo) and adapter for source, adapter in zip(sources, from_adapters, strict=True)
    )
    if thin and any(isinstance(source, AdapterDelta) and source.embedding for source in sources):
        return "embedding factors"
    if name.endswith(".weight") and not replaced and (thin or linear):
        return "factors"
    return "bias" if name.endswith(".bias") else "module"


def saved_modules(tensors: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The outermost modules that PEFT saves whole if it is told those of ``tensors``: it goes by the ends of names."""
    told = {name.rpartition(".")[0] for name in tensors} - {""}
    known = {name[:end] for name in names for end in module_ends(name)}
    saved = {module for module in known if module.endswith(tuple(told))} if told else set[str]()
    return tuple(sorted(one for one in saved if not any(one[:end] in saved for end in module_ends(one))))
