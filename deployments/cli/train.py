"""`makerflow train`: create a training and follow it to its end."""

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.cli.loading import GroupedCommand, single_command
from deployments.cli.output import AsJson
from deployments.cli.settings_options import Detach, FromTemplate, Settings, SettingsFile, takes_settings

if TYPE_CHECKING:
    from blocks.domain.specs import TrainingSpec
    from blocks.domain.template_overrides import TemplatedTrainingSpec

app = single_command()


@app.command(cls=GroupedCommand)
@takes_settings
def train(
    settings: Settings,
    *,
    file: SettingsFile = None,
    from_template: FromTemplate = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Train: run an algorithm on data, as one worker or many, and follow it to its end.

    Ctrl-C once stops the training, twice leaves it running. The exit code is 0 only when it is COMPLETE, 1 when it
    failed, 2 when a setting was refused, 130 after Ctrl-C.
    """
    asked = _of_its_own(file, settings) if from_template is None else _of_template(from_template, file, settings)

    from deployments.cli.running import start
    from deployments.cli.training_running import TrainingSubject

    start(TrainingSubject(), asked, detach=detach, as_json=as_json)


def _of_its_own(file: Path | None, settings: Settings) -> "TrainingSpec":
    from blocks.domain.specs import TrainingSpec
    from deployments.cli.settings_file import named_settings

    return TrainingSpec.model_validate(named_settings(file, settings))


def _of_template(template: str, file: Path | None, settings: Settings) -> "TemplatedTrainingSpec":
    from blocks.domain.template_overrides import TemplatedTrainingSpec
    from deployments.cli.settings_file import beside_template

    return TemplatedTrainingSpec.given(*beside_template(template, file, settings))
