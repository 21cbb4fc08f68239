"""The options that set the settings of a training, declared once for all commands that take them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from deployments.cli import fields

if TYPE_CHECKING:
    from blocks.domain.specs import SettingsSpec

Settings = dict[str, Any]
"""Flat field of a spec to its value: only what was given; and `unset`."""

SettingsFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="Settings as YAML or JSON, - for stdin; options win.", show_default=False),
]

FromTemplate = Annotated[
    str | None,
    typer.Option(
        "--from-template",
        metavar="TEMPLATE",
        help="Settings of this template; what is given beside it wins.",
        show_default=False,
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Print the id and return at once; it goes on by itself.")]


class SettingOption(NamedTuple):
    """One option: the flat field that it sets, how it is shown, and how its text is read, also in a file."""

    field: str
    kind: Any
    panel: str
    help: str
    metavar: str | None = None
    read: Callable[[str, Any], Any] | None = None
    names: tuple[str, ...] = ()
    of_file: bool = False

    @property
    def option(self) -> str:
        """As it is typed."""
        return self.names[0] if self.names else "--" + self.field.replace("_", "-")


SETTING_OPTIONS = (
    SettingOption("experiment", str, "What", "Experiment it belongs to; made when it does not exist.", "NAME"),
    SettingOption("name", str, "What", "Unique name; a training's is made when not given.", "NAME"),
    SettingOption("description", str, "What", "Free text.", "TEXT"),
    SettingOption("tags", list[str], "What", "Tag; repeatable, at most 10.", "K=V", fields.pairs, ("--tag",)),
    SettingOption(
        "algorithm",
        str,
        "Algorithm",
        "Folder of the code: local, file://, s3://, obs:// or nas://.",
        "PATH",
        fields.storage_path,
    ),
    SettingOption("entry_point", str, "Algorithm", "Python file to run, relative to the algorithm's folder.", "FILE"),
    SettingOption("provided", str, "Algorithm", "A provided algorithm instead of one's own, e.g. tabular.", "NAME"),
    SettingOption(
        "hyperparameters", list[str], "Algorithm", "Hyperparameter; repeatable.", "K=V", fields.pairs, ("--hp",)
    ),
    SettingOption(
        "datasets", list[str], "Data", "Named dataset; repeatable.", "NAME=PATH", fields.dataset_pairs, ("--dataset",)
    ),
    SettingOption("checkpoint_input", str, "Data", "Checkpoints to go on from.", "PATH", fields.storage_path),
    SettingOption("output", str, "Data", "Where the model goes.", "PATH", fields.storage_path),
    SettingOption(
        "checkpoint_output", str, "Data", "Where checkpoints go, while it runs.", "PATH", fields.storage_path
    ),
    SettingOption("image", str, "Where it runs", "Image (`makerflow catalogue images`).", "NAME"),
    SettingOption("flavor", str, "Where it runs", "Instance type (`makerflow catalogue flavors`).", "NAME"),
    SettingOption("workers", int, "Where it runs", "Number of distributed workers.", "N"),
    SettingOption(
        "max_time_seconds",
        str,
        "Limits",
        "Maximum training time: 90s, 30m, 2h, 1h30m.",
        "TIME",
        fields.seconds,
        ("--max-time",),
        of_file=True,
    ),
    SettingOption("storage_gb", int, "Limits", "Data-storage size in GB.", "N"),
    SettingOption("log_management", bool, "Limits", "Also keep the output in the log store."),
    SettingOption(
        "metric_expressions",
        list[str],
        "Metrics",
        "Regular expression that reads metrics; repeatable.",
        "REGEX",
        None,
        ("--metric",),
    ),
    SettingOption("metrics_of_all_workers", bool, "Metrics", "Read metrics from every worker, not the first alone."),
    SettingOption(
        "unset",
        list[str],
        "Options",
        "Leave out what the file, template or other training sets: hp.NAME, dataset.NAME, tag.NAME, or an option's "
        "name such as checkpoint-input, which gets its default again; repeatable.",
        "SETTING",
    ),
)


@dataclass(frozen=True)
class SettingsKind:
    """Whose settings some options set.

    Attributes:
        options: All of them.
        spec: Gives the class of the settings; importing it takes longer than help may take.
        completed: Adds to what was read of the options what follows from them.
    """

    options: Sequence[SettingOption]
    spec: "Callable[[], type[SettingsSpec]]"
    completed: Callable[[Settings], Settings] = dict

    def read(self, given: Settings) -> Settings:
        """What was typed as values of the fields: pairs, seconds, absolute paths.

        Raises:
            InvalidInputError: A text has not the form that its option needs.
        """
        readers = {option.field: (option.option, option.read) for option in self.options}
        found = {}
        for field, value in given.items():
            option, read = readers[field]
            found[field] = self._unset(value) if field == "unset" else read(option, value) if read else value
        return self.completed(found)

    def grouped(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings in their groups.

        Raises:
            ValueError: One is given twice, or a group is none.
        """
        return self.spec().grouped(values)

    def dropped(self, settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Grouped settings without those of these flat names.

        Raises:
            InvalidInputError: There is no such setting.
        """
        from blocks.domain.specs import drop_fields

        return drop_fields(settings, names, self.spec().groups)

    def _unset(self, texts: Sequence[str]) -> list[str]:
        """Names as options have them (`hp.lr`, `max-time`) as flat fields."""
        fields_of = {o.option.removeprefix("--"): o.field.replace("time_seconds", "minutes") for o in self.options}
        parted = (text.partition(".") for text in texts)
        return [fields_of.get(name, name.replace("-", "_")) + dot + item for name, dot, item in parted]


def _training_spec() -> "type[SettingsSpec]":
    from blocks.domain.specs import TrainingSpec

    return TrainingSpec


TRAINING = SettingsKind(SETTING_OPTIONS, _training_spec)
"""Those of a training, and of a template."""


def takes_settings(command: Callable[..., None], kind: SettingsKind = TRAINING) -> Callable[..., None]:
    """Give a command all options of some settings; it gets those that were given as its `settings`."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
    positional = [p for p in own if p.default is p.empty]
    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.default is not p.empty]

    @wraps(command)
    def call(**values: Any) -> None:
        given = {option.field: values.pop(option.field) for option in kind.options}
        command(settings={name: value for name, value in given.items() if value not in (None, [])}, **values)

    signature = inspect.Signature([*positional, *map(_parameter, kind.options), *named])
    call.__signature__ = signature  # type: ignore[attr-defined] # what typer reads the options from
    call.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return call


def _parameter(option: SettingOption) -> inspect.Parameter:
    declared = typer.Option(
        *(option.names or ((f"{option.option}/--no-{option.option[2:]}",) if option.kind is bool else ())),
        help=option.help,
        metavar=option.metavar,
        rich_help_panel=option.panel,
        show_default=False,
    )
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[option.kind | None, declared]
    )
