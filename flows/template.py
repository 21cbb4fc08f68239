"""A template's life: create, change, copy, delete. Trainings are made from it in `flows/training.py`."""

from collections.abc import Mapping
from typing import Any

from blocks.connections.platform import open_platform
from blocks.domain.template_overrides import TemplateCopySpec, TemplateOverrides
from blocks.domain.templates import TemplateSpec
from blocks.registry.records import Template
from tasks.current_run import run_key
from tasks.engine import run_flow
from tasks.liveness import flow
from tasks.page_log import tell_page
from tasks.template import change_template_row, copy_template_row, delete_template_row, register_template


@flow(name="create-template", flow_run_name="{spec.name}")
def create_template_flow(spec: TemplateSpec) -> Template:
    """Create a template: settings that trainings can be made from.

    Args:
        spec: The settings. What is left empty is given with a training, or has its default.
    """
    row = register_template(spec, run_key())
    tell_page(f"template {row.name}: created")
    return row


@flow(name="change-template", flow_run_name="{changes.template}")
def change_template_flow(changes: TemplateOverrides) -> Template:
    """Change settings of a template. Trainings that were made from it stay as they are.

    Args:
        changes: Which template, and its new settings. What is left empty stays as it is.
    """
    row = change_template_row(changes)
    tell_page(f"template {row.name}: changed")
    return row


@flow(name="copy-template", flow_run_name="{changes.template}")
def copy_template_flow(changes: TemplateCopySpec) -> Template:
    """Create a template with the settings of another, any of which can be overridden.

    Args:
        changes: Which template, and the copy's own settings. What is left empty is as in the other.
    """
    row = copy_template_row(changes, run_key())
    tell_page(f"template {row.name}: created")
    return row


@flow(name="delete-template", flow_run_name="{key}")
def delete_template_flow(key: str) -> None:
    """Delete a template. Trainings that were made from it stay.

    Args:
        key: Its name or id.
    """
    row = open_platform().registry.templates.summary(key)
    delete_template_row(row.id)
    tell_page(f"template {row.name}: deleted")


def create_template(spec: TemplateSpec | Mapping[str, Any]) -> Template:
    """Create a template.

    Raises:
        InvalidInputError: A setting would be wrong however a training completes it.
        AlreadyExistsError: The name is taken.
    """
    return run_flow(create_template_flow, TemplateSpec.of(spec))


def change_template(key: str, **overrides: Any) -> Template:
    """Change settings of a template, by name or id.

    Args:
        key: The template.
        overrides: Settings by their flat names (`workers=2`, `hyperparameters={"lr": 0.3}`), `name` included; an empty
            text means none, and `unset=["hyperparameters.lr"]` removes one of many.

    Raises:
        InvalidInputError: A setting is refused.
    """
    return run_flow(change_template_flow, TemplateOverrides.given(key, overrides))


def copy_template(key: str, **overrides: Any) -> Template:
    """Create a template with the settings of another, by name or id; the overrides are those of `change_template`.

    Raises:
        InvalidInputError: A setting is refused.
        AlreadyExistsError: The name is taken.
    """
    return run_flow(copy_template_flow, TemplateCopySpec.given(key, overrides))


def delete_template(key: str) -> None:
    """Delete a template, by name or id.

    Raises:
        NotFoundError: There is none.
    """
    run_flow(delete_template_flow, key)
