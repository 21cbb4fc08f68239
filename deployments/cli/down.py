"""`makerflow down`: end the platform; trainings go on."""

from typing import TYPE_CHECKING

from deployments.cli.fields import count_text
from deployments.cli.loading import single_command
from deployments.cli.output import AsJson, clean, write, write_document

if TYPE_CHECKING:
    from blocks.registry.records import TrainingSummary
    from deployments.up.ending import Ending

app = single_command()

_SHOWN = 20


@app.command()
def down(*, as_json: AsJson = False) -> None:
    """End the platform on this home, and say which trainings go on; the next `makerflow up` follows them again."""
    from blocks.connections.settings import read_settings
    from deployments.up.ending import end_instance, trainings_under_way
    from deployments.up.layout import Layout

    layout = Layout(read_settings().home)
    ending = end_instance(layout)
    going_on = trainings_under_way() if layout.home.is_dir() else []
    if as_json:
        trainings = [{"id": row.id, "name": row.name, "status": row.status.value} for row in going_on]
        was = "UP" if ending.ran else "DOWN"
        document = {"status": "DOWN", "was": was, "leftovers_ended": ending.leftovers, "trainings_under_way": trainings}
        write_document(document)
        return
    _write(ending, going_on)


def _write(ending: "Ending", going_on: "list[TrainingSummary]") -> None:
    write("The platform has ended." if ending.ran else "The platform did not run here.")
    if ending.leftovers:
        write(f"Processes that an earlier one had left, ended now: {ending.leftovers}.")
    if going_on:
        write(f"{count_text(len(going_on), 'training')} under way; makerflow up follows them again:")
        for row in going_on[:_SHOWN]:
            write(f"  {clean(row.name)}  {row.status.value}")
        if len(going_on) > _SHOWN:
            write(f"  and {len(going_on) - _SHOWN} more: makerflow training list")
