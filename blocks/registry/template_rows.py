"""Templates, as they are written."""

from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from blocks.domain.errors import AlreadyExistsError, ConcurrentUpdateError, NotFoundError
from blocks.domain.templates import TemplateSpec
from blocks.registry.identity import now_us, storable
from blocks.registry.listing import join_tags
from blocks.registry.storing import changed_rows, insert_new
from blocks.registry.tables import TemplateRow


class TemplateRows:
    """The templates, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, spec: TemplateSpec, id: str) -> None:
        """Insert it, or find the same request's row.

        Raises:
            AlreadyExistsError: The name or the id is taken by another.
        """
        at_us = now_us()
        row = TemplateRow(id=id, created_us=at_us, changed_us=at_us, **_columns(spec))
        if insert_new(self._session, row):
            return
        taken = self._named(spec.name)
        if taken is None or (taken.id, taken.spec) != (id, row.spec):
            raise AlreadyExistsError("template", spec.name, taken.id if taken else id)

    def change(self, id: str, spec: TemplateSpec, revision: int) -> None:
        """Write other settings over those of this revision.

        Raises:
            NotFoundError: There is no such template.
            AlreadyExistsError: The new name is another's.
            ConcurrentUpdateError: Somebody else has changed it since.
        """
        as_read = (col(TemplateRow.id) == id, col(TemplateRow.revision) == revision)
        values = {**_columns(spec), "changed_us": now_us(), "revision": revision + 1}
        taken = self._named(spec.name)
        if taken is not None and taken.id != id:
            raise AlreadyExistsError("template", spec.name, taken.id)
        try:
            changed = changed_rows(self._session, update(TemplateRow).where(*as_read).values(values))
        except IntegrityError as exc:  # the name has been taken in this moment
            raise ConcurrentUpdateError("template", id, "a free name", "a taken one") from exc
        if changed != 1:
            row = self._session.get(TemplateRow, storable(id))
            if row is None:
                raise NotFoundError("template", id)
            raise ConcurrentUpdateError("template", id, f"revision {revision}", f"revision {row.revision}")

    def delete(self, id: str) -> None:
        """Delete it.

        Raises:
            NotFoundError: There is no such template.
        """
        if changed_rows(self._session, delete(TemplateRow).where(col(TemplateRow.id) == storable(id))) != 1:
            raise NotFoundError("template", id)

    def _named(self, name: str) -> TemplateRow | None:
        return self._session.exec(select(TemplateRow).where(TemplateRow.name == name)).first()


def _columns(spec: TemplateSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": storable(spec.description),
        "tags": join_tags({storable(tag.name): storable(tag.value) for tag in spec.tags}),
        "spec": spec.model_dump_json(),
    }
