"""Finds classes by name: those of a folder by their files, those of other packages by entry point.

Names are listed without importing anything heavy.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args

from mergeometry.errors import RecipeError
from mergeometry.words import nearest_of

Kind = TypeVar("Kind")


class Registered:
    """A frozen dataclass of parameters that a recipe can name; ``group`` is the package whose registry finds it."""

    group: ClassVar[str]

    def described(self) -> dict[str, Any]:
        """The parameters as plain values, in the order in which they are declared."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def choice(self) -> dict[str, Any]:
        """The name and the parameters as a recipe writes them, so that a recipe may hold the object itself.

        Raises:
            RecipeError: the class is not registered, so that no recipe can name it.
        """
        registry = importlib.import_module(f"{self.group}.registry")
        return {"name": registry.name_of(type(self)), **self.described()}


class Registry(Generic[Kind]):
    """The classes of one kind: one per file of ``package``, or one per entry point in the group of the package's name.

    ``noun`` is what users call the kind, ``base`` the module and class that all of them inherit, ``helpers`` the files
    of the package that define no such class.
    """

    def __init__(self, package: str, noun: str, base: tuple[str, str], helpers: Collection[str]) -> None:
        self._package = package
        self._noun = noun
        self._base = base
        self._helpers = helpers

    def names(self) -> list[str]:
        """Every name that a recipe may give, sorted."""
        return sorted({*self.own(), *self._offered()})

    def find(self, name: str) -> type[Kind]:
        """The class of this name.

        Raises:
            RecipeError: no class has this name (the hint names the nearest), or an entry point leads to something else.
        """
        kind = getattr(importlib.import_module(self._base[0]), self._base[1])
        if name in self.own():
            module = importlib.import_module(f"{self._package}.{name}")
            classes = [
                member
                for member in vars(module).values()
                if inspect.isclass(member) and issubclass(member, kind) and member.__module__ == module.__name__
            ]
            if len(classes) != 1:
                place = f"{self._package.rpartition('.')[2]}/{name}.py"
                raise RecipeError(f"{place} defines {len(classes)} {self._noun} classes; it must define one")
            return cast(type[Kind], classes[0])
        offered = self._offered()
        if name in offered:
            loaded = offered[name].load()
            if not (inspect.isclass(loaded) and issubclass(loaded, kind) and not inspect.isabstract(loaded)):
                raise RecipeError(f"the entry point {name!r} of {self._package} does not lead to a {self._noun} class")
            return cast(type[Kind], loaded)
        raise RecipeError(f"there is no {self._noun} {name!r}", hint=nearest_of(name, self.names()))

    def name_of(self, kind: type[Kind]) -> str:
        """The name by which a recipe finds this class.

        Raises:
            RecipeError: no name leads to it.
        """
        package, _, name = kind.__module__.rpartition(".")
        if package == self._package and name in self.own():
            return name
        for name, entry in self._offered().items():
            if entry.load() is kind:
                return name
        raise RecipeError(
            f"no recipe can name the {self._noun} {kind.__name__}: it is not registered",
            hint=f"offer it by an entry point in the group {self._package!r} (docs/adding-a-method.md)",
        )

    def own(self) -> list[str]:
        """The names that this package's own files give, sorted."""
        return sorted(module.name for module in self._modules())

    def class_names(self) -> list[str]:
        """The name of every class, sorted; read from the files' text and the entry points, so nothing is imported."""
        modules = self._modules()
        names = {module.name for module in modules}
        classes = {class_name for module in modules if (class_name := _class_in(module))}
        return sorted(classes | {_class_of(entry) for name, entry in self._offered().items() if name not in names})

    def attribute(self, class_name: str) -> type[Kind]:
        """The class of this name, for the package's own ``__getattr__``: one file is imported, not all.

        Raises:
            AttributeError: no class has this name.
        """
        own = self.own()
        names = [name for name in own if _fits(class_name, name)]
        names += [name for name, entry in self._offered().items() if name not in own and _class_of(entry) == class_name]
        for name in names:
            candidate = self.find(name)
            if candidate.__name__ == class_name:
                return candidate
        raise AttributeError(f"module {self._package!r} has no attribute {class_name!r}")

    def build(self, name: str, given: Mapping[str, Any]) -> Kind:
        """An instance with its parameters set and checked.

        Raises:
            RecipeError: the name or a parameter is unknown (the hint names the nearest), or a value is out of range.
        """
        from pydantic import ValidationError  # noqa: PLC0415

        kind = self.find(name)
        known = list(inspect.signature(kind).parameters)
        fields_of_kind = getattr(kind, "__pydantic_fields__", {})
        for key, value in given.items():
            if key not in known:
                hint = nearest_of(key, known) if known else f"{name} has no parameters"
                raise RecipeError(f"{self._noun} {name!r} has no parameter {key!r}", hint=hint)
            if isinstance(value, bool) and key in fields_of_kind and not _holds(fields_of_kind[key].annotation, bool):
                # To Python, and to pydantic, true is the number 1.
                hint = f"`mergeometry methods {name}` shows each"
                raise RecipeError(f"{self._noun} {name!r}: {key}: {str(value).lower()} is no value of it", hint=hint)
        try:
            return kind(**given)
        except ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'][:1])}: {problem['msg']}" for problem in error.errors()
            )
            hint = f"`mergeometry methods {name}` shows each"
            raise RecipeError(f"{self._noun} {name!r}: {reasons}", hint=hint) from error

    def _modules(self) -> list[pkgutil.ModuleInfo]:
        folder = Path(importlib.import_module(self._package).__file__ or "").parent
        return [module for module in pkgutil.iter_modules([str(folder)]) if module.name not in self._helpers]

    def _offered(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self._package)}


def _holds(annotation: object, kind: type) -> bool:
    """Whether a value of exactly this type is among those that an annotation allows."""
    return annotation is kind or any(_holds(part, kind) for part in get_args(annotation))


def _fits(class_name: str, name: str) -> bool:
    """Whether a file of this name may define the class: ``dc_merge`` holds `DCMerge`."""
    return class_name.lower() == name.replace("_", "")


def _class_in(module: pkgutil.ModuleInfo) -> str | None:
    """The class that a file defines by its name, read without running the file."""
    spec = module.module_finder.find_spec(module.name, None)
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    classes = (node.name for node in tree.body if isinstance(node, ast.ClassDef))
    return next((class_name for class_name in classes if _fits(class_name, module.name)), None)


def _class_of(entry: EntryPoint) -> str:
    """The class that an entry point leads to, by its name."""
    return entry.value.rpartition(":")[2].rpartition(".")[2]
