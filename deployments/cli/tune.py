"""`makerflow tune`: create a tuning and follow it to its end."""

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.cli.loading import GroupedCommand, single_command
from deployments.cli.output import AsJson
from deployments.cli.settings_options import Detach, FromTemplate, Settings, SettingsFile
from deployments.cli.tuning_options import TUNING, takes_tuning_settings

if TYPE_CHECKING:
    from blocks.domain.tuning_overrides import TemplatedTuningSpec
    from blocks.domain.tunings import TuningSpec

app = single_command()


@app.command(cls=GroupedCommand)
@takes_tuning_settings
def tune(
    settings: Settings,
    *,
    file: SettingsFile = None,
    from_template: FromTemplate = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Tune: train with many values of hyperparameters, to find those that make a metric best.

    E.g. makerflow tune --algorithm ./code --entry-point train.py --param 'lr=DOUBLE[1e-4,1e-1,log]' --param
    'depth=INT[2,8]' --objective val_loss --max-trainings 30 --parallel 2. What it takes at most is told before by
    makerflow tuning preview, which has the same options.

    Ctrl-C once stops the tuning, twice leaves it running. The exit code is 0 only when it is COMPLETE, 1 when it
    failed, 2 when a setting was refused, 130 after Ctrl-C.
    """
    asked = asked_for(file, from_template, settings)

    from deployments.cli.running import start
    from deployments.cli.tuning_running import TuningSubject

    start(TuningSubject(), asked, detach=detach, as_json=as_json)


def asked_for(file: Path | None, template: str | None, settings: Settings) -> "TuningSpec | TemplatedTuningSpec":
    """The tuning that a file and options describe, of its own or over a template.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
        pydantic.ValidationError: A setting is refused.
        NotFoundError: There is no such template.
    """
    if template is None:
        from blocks.domain.tunings import TuningSpec
        from deployments.cli.settings_file import named_settings

        return TuningSpec.model_validate(named_settings(file, settings, TUNING))
    from blocks.domain.tuning_overrides import TemplatedTuningSpec
    from deployments.cli.settings_file import beside_template

    return TemplatedTuningSpec.given(*beside_template(template, file, settings, TUNING))
