"""What every registry promises of templates."""

from typing import Any

import pytest

from blocks.domain.errors import (
    AlreadyExistsError,
    ConcurrentUpdateError,
    InvalidInputError,
    NotFoundError,
)
from blocks.domain.templates import TemplateSpec, TemplateUse
from blocks.registry.database import Registry
from blocks.registry.driver import open_driver
from blocks.registry.records import Query, Template, TemplateSummary
from tests.contract.registry_contract import RegistryBase, spec_of


def template_of(name: str, **settings: Any) -> TemplateSpec:
    """A template's settings, any of which can be given."""
    return TemplateSpec(**{"name": name, "algorithm": "s3://bucket/code"} | settings)


class TemplatesContract(RegistryBase):
    """Templates, and what a training remembers of one."""

    @pytest.fixture
    def template(self, registry: Registry) -> Template:
        return registry.templates.create(template_of("nightly", tags={"team": "vision"}))

    @pytest.mark.req("COM-01", "TPL-01")
    def test_a_new_template_has_everything_it_was_asked_with(self, registry: Registry) -> None:
        spec = template_of("nightly", description="d", tags={"team": "vision", "a": ""}, workers=2)
        made = registry.templates.create(spec)
        assert made.id.startswith("tpl-")
        assert (made.name, made.description, made.tags) == ("nightly", "d", {"a": "", "team": "vision"})
        assert (made.spec, made.created) == (spec, made.changed)
        assert registry.templates.get(made.id) == registry.templates.get("nightly") == made
        summary = registry.templates.summary(made.id)
        assert summary == TemplateSummary(**{name: getattr(made, name) for name in TemplateSummary.model_fields})

    @pytest.mark.req("COM-04")
    def test_asking_with_the_same_id_and_settings_finds_the_template(self, registry: Registry) -> None:
        made = registry.templates.create(template_of("nightly"), id="tpl-1")
        assert registry.templates.create(template_of("nightly"), id="tpl-1") == made
        for other in (template_of("nightly", workers=2), template_of("second")):
            with pytest.raises(AlreadyExistsError):
                registry.templates.create(other, id="tpl-1")

    @pytest.mark.req("COM-01")
    def test_a_taken_name_is_refused_with_the_id_that_has_it(self, registry: Registry, template: Template) -> None:
        with pytest.raises(AlreadyExistsError, match=f"A template named 'nightly' exists already .id {template.id}."):
            registry.templates.create(template_of("nightly"))

    def test_an_id_of_the_wrong_form_is_refused(self, registry: Registry) -> None:
        with pytest.raises(InvalidInputError, match="form of an id"):
            registry.templates.create(template_of("nightly"), id="trn-1")

    @pytest.mark.parametrize("key", ["nothing", "tpl-nothing", "", "\0", "\udcff", "x" * 10_000])
    def test_what_is_not_there_is_not_found(self, registry: Registry, key: str) -> None:
        for look in (registry.templates.get, registry.templates.summary, registry.templates.delete):
            with pytest.raises(NotFoundError, match="no template"):
                look(key)

    def test_a_name_that_is_another_ones_id_does_not_hide_that_one(self, registry: Registry) -> None:
        first = registry.templates.create(template_of("first"), id="tpl-1")
        registry.templates.create(template_of("tpl-1"), id="tpl-0")
        assert registry.templates.get("tpl-1") == first

    @pytest.mark.req("COM-01", "TPL-01")
    def test_all_of_it_can_be_changed_the_name_included(self, registry: Registry, template: Template) -> None:
        spec = template.spec.changed(name="weekly", description="NUL \0", workers=3, tags={"stage": "1"})
        changed = registry.templates.change(template.id, spec, after=template.revision)
        assert (changed.id, changed.spec, changed.created) == (template.id, spec, template.created)
        assert changed.description == "NUL \N{REPLACEMENT CHARACTER}"
        assert (changed.tags, changed.changed > template.changed) == ({"stage": "1", "team": "vision"}, True)
        assert registry.templates.get("weekly") == changed
        with pytest.raises(NotFoundError):
            registry.templates.get("nightly")

    def test_a_change_to_a_taken_name_is_refused_and_changes_nothing(
        self, registry: Registry, template: Template
    ) -> None:
        other = registry.templates.create(template_of("weekly"))
        with pytest.raises(AlreadyExistsError, match=other.id):
            registry.templates.change(template.id, template.spec.changed(name="weekly"), after=template.revision)
        assert registry.templates.get(template.id) == template

    def test_the_slower_of_two_changes_is_refused(self, registry: Registry, template: Template) -> None:
        quick = registry.templates.change(template.id, template.spec.changed(workers=2), after=template.revision)
        with pytest.raises(ConcurrentUpdateError, match="revision 0 to revision 1"):
            registry.templates.change(template.id, template.spec.changed(workers=3), after=template.revision)
        assert registry.templates.get(template.id) == quick
        with pytest.raises(NotFoundError):
            registry.templates.change("tpl-nothing", template_of("nobody"), after=0)

    @pytest.mark.req("COM-03", "TPL-01")
    def test_a_list_filters_by_name_and_tag_and_knows_no_status(self, registry: Registry, template: Template) -> None:
        tricky = {"a": '\n["team", "vision"]\n', 'x"': "y"}
        for name in ("Weekly", "hourly"):
            registry.templates.create(template_of(name, tags=tricky))

        def names(**query: Any) -> list[str]:
            return [row.name for row in registry.templates.page(Query(**query)).items]

        assert names() == ["hourly", "Weekly", "nightly"]
        assert names(sort="name") == ["Weekly", "hourly", "nightly"]
        assert names(name="LY", tags={"team": "vision"}) == names(tags={"team": None}) == ["nightly"]
        assert names(tags={'x"': "y"}) == ["hourly", "Weekly"]
        assert names(name="week*") == ["Weekly"]
        for query, why in (
            ({"status": ("ACTIVE",)}, "filter by status"),
            ({"experiment": "e"}, "filter by experiment"),
            ({"sort": "status"}, "Sort by one of: created, changed, name;"),
        ):
            with pytest.raises(InvalidInputError, match=why):
                names(**query)

    @pytest.mark.req("COM-03")
    @pytest.mark.parametrize("sort", ["created", "-changed", "name", "-name"])
    def test_pages_give_every_template_once_in_order(self, registry: Registry, sort: str) -> None:
        for n in range(5):
            registry.templates.create(template_of(f"t-{n}"))
        found, cursor = [], ""
        while True:
            page = registry.templates.page(Query(limit=2, sort=sort, cursor=cursor))
            found += page.items
            cursor = page.cursor
            if not cursor:
                break
        keys = [(getattr(row, sort.removeprefix("-")), row.id) for row in found]
        assert keys == sorted(keys, reverse=sort.startswith("-"))
        assert len({row.id for row in found}) == 5

    def test_a_free_name_is_the_first_number_after_those_of_templates(
        self, registry: Registry, template: Template
    ) -> None:
        assert registry.templates.free_name("weekly") == "weekly"
        assert registry.templates.free_name("nightly") == "nightly-2"
        assert registry.trainings.free_name("nightly") == "nightly"

    @pytest.mark.req("TPL-01", "TPL-02")
    def test_a_training_remembers_its_template_also_when_that_is_gone(
        self, registry: Registry, experiment_id: str, template: Template
    ) -> None:
        use = TemplateUse(id=template.id, name="nightly", beside=("workers", "hyperparameters.lr"))
        made = registry.trainings.create(spec_of("first"), experiment_id, template=use)
        registry.templates.delete(template.id)
        assert registry.trainings.get("first").template == made.template == use
        assert registry.templates.page().items == ()
        assert registry.templates.create(template_of("nightly")).id != template.id

    def test_settings_that_this_version_has_not_are_named_when_the_template_is_used_not_when_it_is_deleted(
        self, url: str, registry: Registry, template: Template
    ) -> None:
        connection = open_driver(url).connect(autocommit=True)
        connection.execute("""UPDATE template SET spec = replace(spec, '"own"', '"forest"')""")
        connection.close()
        told = r"algorithm.provided of the template 'nightly': .*'own' or 'tabular'.*template delete nightly"
        with pytest.raises(InvalidInputError, match=told):
            registry.templates.get("nightly")
        assert [row.name for row in registry.templates.page().items] == ["nightly"]
        registry.templates.delete(registry.templates.summary("nightly").id)
        assert registry.templates.page().items == ()
