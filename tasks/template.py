"""The steps of a template."""

from contextlib import suppress
from functools import partial

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.template_overrides import TemplateOverrides
from blocks.domain.templates import TemplateSpec
from blocks.registry.names import under_free_name
from blocks.registry.records import Template
from tasks.engine import step


@step("register")
def register_template(spec: TemplateSpec, key: str) -> Template:
    """Make the row. `key` names the request, so that asking again finds the row.

    Raises:
        InvalidInputError: A setting would be wrong however a training completes it.
        AlreadyExistsError: The name is taken.
    """
    platform = open_platform()
    spec.check(platform.catalogue)
    return platform.registry.templates.create(spec, id=_template_id(key))


@step("copy")
def copy_template_row(changes: TemplateOverrides, key: str) -> Template:
    """Make a row with the settings of another, changed; asking again with the same `key` finds the row.

    Raises:
        NotFoundError: There is no such template.
        InvalidInputError: A setting is refused.
        AlreadyExistsError: The name is taken.
    """
    platform = open_platform()
    templates = platform.registry.templates
    with suppress(NotFoundError):  # made already, of the template as it was then
        return templates.get(_template_id(key))
    row = templates.get(changes.template)

    def create(name: str) -> Template:
        spec = changes.changed_template(row.spec.changed(name=name))
        spec.check(platform.catalogue, row.spec)
        return templates.create(spec, id=_template_id(key))

    return under_free_name(partial(templates.free_name, row.name), create)


@step("change")
def change_template_row(changes: TemplateOverrides) -> Template:
    """Replace some settings; who changes the same template at the same time is not overwritten.

    Raises:
        NotFoundError: There is no such template.
        InvalidInputError: A setting is refused.
        AlreadyExistsError: The new name is another's.
    """
    platform = open_platform()
    row = platform.registry.templates.get(changes.template)
    spec = changes.changed_template(row.spec)
    spec.check(platform.catalogue, row.spec)
    return platform.registry.templates.change(row.id, spec, after=row.revision)


@step("delete")
def delete_template_row(template_id: str) -> None:
    """Delete the template; trainings made from it stay.

    Raises:
        NotFoundError: It is gone already.
    """
    open_platform().registry.templates.delete(template_id)


def _template_id(key: str) -> str:
    return f"tpl-{key.replace('-', '')[:24]}"
