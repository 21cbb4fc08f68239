"""`makerflow train`: create a training and follow it to its end."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.loading import GroupedCommand, single_command
from deployments.cli.output import AsJson
from deployments.cli.settings_options import Settings, takes_settings

app = single_command()


@app.command(cls=GroupedCommand)
@takes_settings
def train(
    settings: Settings,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Settings as YAML or JSON, - for stdin; options win.", show_default=False),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the id and return at once; the training goes on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train: run an algorithm on data, as one worker or many, and follow it to its end.

    Ctrl-C once stops the training, twice leaves it running. The exit code is 0 only when it is COMPLETE, 1 when it
    failed, 2 when a setting was refused, 130 after Ctrl-C.
    """
    from blocks.domain.specs import TrainingSpec
    from deployments.cli.running import start_training
    from deployments.cli.settings_file import training_settings

    spec = TrainingSpec.model_validate(training_settings(file, settings))
    start_training(spec, detach=detach, as_json=as_json)
