"""The list of all commands: their names, where each is, and its line of help, so that `--help` imports none of them."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from typer.core import TyperGroup

from mergeometry.cli.later import Later

OWN = {
    "merge": ("merge:merge", "Merge models into one; the output folder appears whole or not at all."),
    "plan": (
        "plan:plan",
        "Show what a merge would read, compute and write, or list every mismatch; no weight is read.",
    ),
    "extract": (
        "extract:extract",
        "Take a LoRA adapter out of a fine-tune: its difference from the base, truncated by the singular values.",
    ),
    "transplant": (
        "transplant:transplant",
        "Put the tokenizer of another model onto a model: its tables of embeddings get that vocabulary.",
    ),
    "inspect": (
        "inspect:inspect",
        "Show how the updates of models lie to each other: who overlaps, who fights, and in which layers.",
    ),
    "report": (
        "report:report",
        "Show what became of every model in a merge: how much of each update it holds, and in which layers.",
    ),
    "mixture": (
        "mixture:mixture",
        "Put dense models together to a mixture of experts: their MLPs as experts, all else from the base.",
    ),
    "compare": (
        "compare:compare",
        "Merge by many methods, score each at every scale, and show what each keeps of its experts.",
    ),
    "evaluate": ("evaluate:evaluate", "Score one model on the test inputs of every task."),
    "router": (
        "router:router",
        "Fit what tells the tasks of a merge apart, to a few unlabelled inputs of each.",
    ),
    "methods": (
        "methods:methods",
        "List the merge methods and the refinements that may follow them, or explain one.",
    ),
    "import-recipe": (
        "import_recipe:import_recipe",
        "Print a mergekit recipe in our own form; it reads back to the same merge.",
    ),
    "diff": ("diff:diff", "Show what changed between two runs: recipe, inputs, versions, tensors, scores."),
    "verify": ("verify:verify", "Hash an output again and list everything that is not as its run record says."),
    "provenance": (
        "attest:provenance",
        "Write an in-toto statement of where an output comes from into it: mergeometry.intoto.json.",
    ),
    "sign": ("attest:sign", "Sign an output, with its provenance, in the OpenSSF's model-signing format: model.sig."),
    "clean": (
        "clean:clean",
        "Remove what an interrupted merge left next to its output; a merge that is still running is left alone.",
    ),
}
"""In the order in which `--help` lists them: the file and the function of each, and the first line of its help."""


class Commands(TyperGroup):
    """The command line's own commands, and, where they are asked for, those that other packages add."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: Later(name, help_, partial(function_of, name)) for name, (_, help_) in OWN.items()}
        self._complete = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name."""
        if cmd_name not in self.commands:
            self._add_others()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all."""
        self._add_others()
        return super().list_commands(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List every command with its whole line of help, which typer would cut short."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, str(self.get_command(ctx, name).help)) for name in self.list_commands(ctx)])

    def _add_others(self) -> None:
        if not self._complete:
            from mergeometry.cli.extensions import added_commands

            self.commands.update(added_commands())
            self._complete = True


def function_of(name: str) -> Any:
    """The function of one of our own commands."""
    place, _, function = OWN[name][0].partition(":")
    return getattr(import_module(f"mergeometry.cli.{place}"), function)
