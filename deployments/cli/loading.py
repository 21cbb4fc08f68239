"""How the command line is put together: commands are imported when they are asked for, help lists options in groups.

`makerflow --help` has to answer at once, so the root command knows each command's module and its one line of help.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "train": ("deployments.cli.train", "Train: run an algorithm on data and follow it to its end."),
    "training": ("deployments.cli.training", "List, show, follow, monitor, schedule, stop, copy and delete trainings."),
    "tune": ("deployments.cli.tune", "Tune: train with many values of hyperparameters and find the best."),
    "tuning": ("deployments.cli.tuning", "Preview, list, show, resume, stop, copy and delete tunings; their trials."),
    "template": ("deployments.cli.template", "Templates hold settings that many trainings share."),
    "experiment": ("deployments.cli.experiment", "Experiments group trainings and tunings that belong together."),
    "storage": ("deployments.cli.storage", "Look at and move data in object stores, NAS and directories."),
    "connection": ("deployments.cli.connection", "Endpoints of object stores and the accounts used on them."),
    "catalogue": ("deployments.cli.catalogue", "Images, flavors and provided algorithms to choose from."),
    "metrics": (
        "deployments.cli.metrics",
        "Try out what finds metrics in output: expressions on a file or a training.",
    ),
    "logs": ("deployments.cli.logs", "Search the log store of trainings with log management."),
    "upkeep": ("deployments.cli.upkeep", "Mend what dead processes left: trainings, runs, flow runs, files."),
    "doctor": ("deployments.cli.doctor", "Check this installation; each finding comes with its remedy."),
    "up": ("deployments.cli.up", "Run the platform here: workflow UI, schedules, TensorBoards, upkeep."),
    "status": ("deployments.cli.status", "Whether the platform runs here, and how each part is."),
    "down": ("deployments.cli.down", "End the platform here; trainings go on."),
}
"""Name to the module that holds it, and its line in the root's help."""


class CommandInterruptedError(Exception):
    """Ctrl-C in a command: typer would turn KeyboardInterrupt into a mere exit code."""


@contextmanager
def _own_interrupts() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise CommandInterruptedError(*interrupt.args) from interrupt


class LazyGroup(TyperGroup):
    """The root: imports a command's module when the command is run, completed or asked for help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Known by name only, for listings and "did you mean".
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The real command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, line = COMMANDS[cmd_name]
        command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        command.help = command.help or line
        return command

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the command line; Ctrl-C leaves it as an error of its own."""
        with _own_interrupts():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, likewise."""
        with _own_interrupts():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


class GroupedCommand(TyperCommand):
    """A command with many options: its plain help lists them under the headings of their `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section per heading, in the order of first use."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                heading = getattr(parameter, "rich_help_panel", None) or usual
                sections.setdefault(heading, []).append(record)
        for heading in sorted(sections, key="Options".__eq__):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def command_group(help: str) -> typer.Typer:
    """A group of one resource's commands."""
    return typer.Typer(help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def single_command() -> typer.Typer:
    """A module that holds one command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)
