"""Templates: named settings of trainings."""

from typing import Any

from pydantic import ValidationError

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.moments import from_microseconds
from blocks.domain.templates import TemplateSpec
from blocks.registry.identity import check_id, new_id
from blocks.registry.listing import Listing, list_page, split_tags
from blocks.registry.names import free_name
from blocks.registry.reading import Reader, Row, Rows
from blocks.registry.records import ALL, Page, Query, Template, TemplateSummary
from blocks.registry.sessions import Sessions

PREFIX = "tpl"
_COLUMNS = "t.id, t.name, t.description, t.tags, t.created_us, t.changed_us"
_LISTING = Listing("template", _COLUMNS, "template t", tagged=True)
# An id comes before a name, should anybody give a name that is another's id.
_ONE = "FROM template t WHERE t.id = :key OR t.name = :key ORDER BY t.id <> :key LIMIT 1"


class Templates:
    """The templates of a registry. Each call is one short transaction."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def create(self, spec: TemplateSpec, *, id: str | None = None) -> Template:
        """Make it; with the same id and settings a second time, find it.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidInputError: The id has not the form of one.
        """
        id = check_id(id or new_id(PREFIX), PREFIX)
        with self._sessions.begin() as write:
            write.templates.create(spec, id)
            return _find(write, id)

    def get(self, key: str) -> Template:
        """The template of an id or a name.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: It was made by another version of this program, and has settings that this one has not.
        """
        return _find(self._reader, key)

    def summary(self, key: str) -> TemplateSummary:
        """The same without its settings, which need not be usable.

        Raises:
            NotFoundError: There is none.
        """
        return _summary(_row(self._reader, _COLUMNS, key))

    def free_name(self, base: str) -> str:
        """`base` when no template has this name, else the first free of `base-2`, `base-3`, ..."""
        return free_name(self._reader, "template", base)

    def page(self, query: Query = ALL) -> Page[TemplateSummary]:
        """A page of the list.

        Raises:
            InvalidInputError: The query has a filter, an order or a cursor that this list has not.
        """
        return list_page(_LISTING, query, self._reader, _summary)

    def change(self, id: str, spec: TemplateSpec, *, after: int) -> Template:
        """Write other settings, all of them.

        Args:
            id: The template.
            spec: Its settings from now on, its name included.
            after: `Template.revision` of the record that they were made of.

        Raises:
            NotFoundError: There is no such template.
            AlreadyExistsError: The new name is another's.
            ConcurrentUpdateError: Somebody else has changed it since: read it again and decide anew.
        """
        with self._sessions.begin() as write:
            write.templates.change(id, spec, after)
            return _find(write, id)

    def delete(self, id: str) -> None:
        """Delete it; the trainings made from it stay, and remember it.

        Raises:
            NotFoundError: There is no such template.
        """
        with self._sessions.begin() as write:
            write.templates.delete(id)


def _row(rows: Rows, columns: str, key: str) -> Row:
    found = rows.rows(f"SELECT {columns} {_ONE}", key=key)
    if not found:
        raise NotFoundError("template", key)
    return found[0]


def _find(rows: Rows, key: str) -> Template:
    row = _row(rows, f"{_COLUMNS}, t.spec, t.revision", key)
    values = _plain(row)
    try:
        spec = TemplateSpec.model_validate_json(values["spec"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInputError(
            f"{'.'.join(map(str, first['loc']))} of the template {values['name']!r}",
            f"another version of Makerflow has made it ({first['msg']})",
            f"Use that version, or delete the template: `makerflow template delete {values['name']}`.",
        ) from error
    return Template(**values | {"spec": spec})


def _summary(row: Row) -> TemplateSummary:
    return TemplateSummary(**_plain(row))


def _plain(row: Row) -> dict[str, Any]:
    values = dict(row)
    for name in ("created", "changed"):
        values[name] = from_microseconds(values.pop(f"{name}_us"))
    return values | {"tags": split_tags(values["tags"])}
