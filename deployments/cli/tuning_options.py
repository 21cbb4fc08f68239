"""The options that set the settings of a tuning: those of a training, and what is searched, for what, and how long."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from blocks.domain.errors import InvalidInputError
from deployments.cli import fields
from deployments.cli.settings_options import SETTING_OPTIONS, SettingOption, Settings, SettingsKind, takes_settings

if TYPE_CHECKING:
    from blocks.domain.specs import SettingsSpec

TYPES = ("MINIMIZE", "MAXIMIZE")


def _choice(*known: str) -> Callable[[str, str], str]:
    def read(option: str, text: str) -> str:
        return fields.choice(option, text, *known)

    return read


_OWN = (
    SettingOption(
        "parameters",
        list[str],
        "Search",
        "Hyperparameter with a range: NAME=DOUBLE[1e-4,1e-1,log], NAME=DOUBLE[0,1,step=0.1], NAME=INT[1,10], "
        "NAME=DISCRETE[16,32], NAME=CATEGORICAL[a,b]; repeatable.",
        "RANGE",
        fields.parameters,
        ("--param",),
    ),
    SettingOption(
        "strategy",
        str,
        "Search",
        "BAYESIAN_OPTIMIZATION, when not given, learns from earlier trials; RANDOM; GRID: every combination.",
        "NAME",
        _choice("BAYESIAN_OPTIMIZATION", "RANDOM", "GRID"),
        of_file=True,
    ),
    SettingOption(
        "sampler",
        str,
        "Search",
        "Of BAYESIAN_OPTIMIZATION: TPE, when not given, or INDEPENDENT_TPE.",
        "NAME",
        _choice("TPE", "INDEPENDENT_TPE"),
        of_file=True,
    ),
    SettingOption(
        "random_state",
        int,
        "Search",
        "The same number gives the same points; of BAYESIAN_OPTIMIZATION with --parallel 1 alone, as else the order "
        "in which trainings end decides as well. One is made up when not given.",
        "N",
    ),
    SettingOption("warm_start", str, "Search", "Learn from the finished trials of this tuning.", "TUNING"),
    SettingOption(
        "objective_metric", str, "Objective", "Metric that is to become best.", "METRIC", None, ("--objective",)
    ),
    SettingOption(
        "minimize", bool, "Objective", "Which is best; least when not given.", None, None, ("--minimize/--maximize",)
    ),
    SettingOption(
        "objective_type",
        str,
        "Objective",
        "The same as a word: MINIMIZE or MAXIMIZE.",
        "TYPE",
        _choice(*TYPES),
        of_file=True,
    ),
    SettingOption("goal", float, "Objective", "A value that is good enough: reaching it ends the tuning.", "VALUE"),
    SettingOption(
        "objective_value",
        str,
        "Objective",
        "Which report of a trial counts: BEST, when not given, LAST, or BEST_STEP: at the step at which another metric "
        "was best.",
        "WHICH",
        _choice("BEST", "LAST", "BEST_STEP"),
        of_file=True,
    ),
    SettingOption("best_step_metric", str, "Objective", "BEST_STEP: the metric that chooses the step.", "METRIC"),
    SettingOption(
        "best_step_type",
        str,
        "Objective",
        "BEST_STEP: MINIMIZE, when not given, or MAXIMIZE.",
        "TYPE",
        _choice(*TYPES),
        of_file=True,
    ),
    SettingOption("max_trainings", int, "Trainings", "How many; when not given, all points of a GRID, else 10.", "N"),
    SettingOption(
        "parallel_trainings", int, "Trainings", "How many at once; 1 when not given.", "N", None, ("--parallel",)
    ),
    SettingOption(
        "max_failed_trainings",
        int,
        "Trainings",
        "When so many have failed, the tuning fails; no limit when not given.",
        "N",
        None,
        ("--max-failed",),
    ),
    SettingOption(
        "max_tuning_time_seconds",
        str,
        "Trainings",
        "Maximum time of the whole tuning: 90s, 30m, 2h, 1h30m.",
        "TIME",
        fields.seconds,
        ("--max-tuning-time",),
        of_file=True,
    ),
    SettingOption(
        "keep",
        str,
        "Trainings",
        "Whose outputs stay: all, when not given, none, or best N, as 'best 3'; those of the best always do.",
        "WHOSE",
    ),
    SettingOption(
        "early_stopping", bool, "Early stopping", "End trials that do worse than the median of those that finished."
    ),
    SettingOption(
        "min_trainings_required",
        int,
        "Early stopping",
        "How many have to be finished before it applies; 3 when not given. Turns it on.",
        "N",
    ),
    SettingOption(
        "start_step",
        int,
        "Early stopping",
        "From which report of the objective on it applies; 4 when not given. Turns it on.",
        "N",
    ),
    SettingOption(
        "metric_names",
        list[str],
        "Metrics",
        "Metric that is kept, the objective among them; all when not given; repeatable.",
        "METRIC",
        None,
        ("--metric-name",),
    ),
)

_HELP = {
    "name": "Unique name; made when not given.",
    "hyperparameters": "Hyperparameter with one value in every training; repeatable.",
    "output": "Where models go: each training's to TUNING/NUMBER below it.",
    "checkpoint_output": "Where checkpoints go, likewise, while it runs.",
    "workers": "Number of distributed workers of each training.",
    "max_time_seconds": "Maximum time of each training: 90s, 30m, 2h, 1h30m.",
    "unset": "Leave out what the file, template or other tuning sets: param.NAME, hp.NAME, dataset.NAME, tag.NAME, or "
    "an option's name such as goal, which gets its default again; repeatable.",
}


def _tuning_spec() -> "type[SettingsSpec]":
    from blocks.domain.tunings import TuningSpec

    return TuningSpec


def _completed(given: Settings) -> Settings:
    """What is best as a word; early stopping is on when one of its numbers is given."""
    found = dict(given)
    if (least := found.pop("minimize", None)) is not None:
        if "objective_type" in found:
            raise InvalidInputError(
                "--objective-type", "--minimize or --maximize is given as well", "Give one of them."
            )
        found["objective_type"] = TYPES[not least]
    numbers = {name for name in ("min_trainings_required", "start_step") if name in found}
    if numbers or "early_stopping" in found:
        found["early_stopping"] = {"rule": "MEDIAN" if found.get("early_stopping", True) else "NONE"}
    return found


def _of_training() -> list[SettingOption]:
    return [option._replace(help=_HELP.get(option.field, option.help)) for option in SETTING_OPTIONS]


def _in_order() -> list[SettingOption]:
    """What it is, then what only a tuning has, then what it shares with a training."""
    shared = _of_training()
    first = [option for option in shared if option.panel == "What"]
    return [*first, *_OWN, *(option for option in shared if option.panel != "What")]


TUNING = SettingsKind(_in_order(), _tuning_spec, _completed)
"""Those of a tuning."""

takes_tuning_settings: Callable[[Callable[..., Any]], Callable[..., None]] = partial(takes_settings, kind=TUNING)
"""`takes_settings`, for a tuning's."""
