"""A registry that an earlier version has filled is brought up to date with all that it holds."""

from pathlib import Path

import pytest
from alembic import command

from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.templates import TemplateSpec, TemplateUse
from blocks.registry.database import open_registry
from blocks.registry.driver import open_driver
from blocks.registry.engine import open_engine
from blocks.registry.migrating import alembic_config

OF_0001 = (Path(__file__).parent / "registry_0001.sql").read_text()
SERIALS = ("status_move", "metric_series")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of either kind as 0.1.0 left it: its schema, and what it had written."""
    found = (
        f"sqlite:///{tmp_path}/registry.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    driver = open_driver(found)
    driver.prepare()
    engine = open_engine(driver)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in OF_0001.split(";\n")[:-1]:
            connection.exec_driver_sql(statement)
        if request.param == "postgresql":
            for table in SERIALS:
                serial = f"pg_get_serial_sequence('{table}', 'id')"
                connection.exec_driver_sql(f"SELECT setval({serial}, (SELECT max(id) FROM {table}))")  # noqa: S608 - constants
    engine.dispose()
    return str(found)


def test_all_that_0001_held_is_there_after_the_migration(url: str) -> None:
    with open_registry(url) as registry:
        first, second = registry.trainings.get("first"), registry.trainings.get("second")

        assert (first.status, first.description, first.tags) == (
            TrainingStatus.COMPLETE,
            "the first",
            {"team": "vision"},
        )
        assert first.plan is not None
        assert first.plan.run_id == first.id
        assert (first.event_cursor, first.log_cursors, first.template) == (3, {0: 99}, None)
        assert (second.status, second.reason, second.spec.algorithm.provided) == (
            "CREATE FAILED",
            "no dataset",
            "tabular",
        )
        assert len(registry.trainings.history(first.id)) == 5
        assert [point.value for point in registry.metrics.curve(first.id, "loss", 10)] == [1.0, 0.5]
        assert registry.experiments.get("digits").description == 'Handwritten; it\'s "quoted"'
        assert [run.id for run in registry.flow_runs.pending()] == ["run-1"]
        assert registry.connections.get("store").endpoint == "store.example:9000"


@pytest.mark.req("TPL-01", "TPL-02")
def test_a_migrated_registry_goes_on_with_what_it_has_and_takes_templates(url: str) -> None:
    with open_registry(url) as registry:
        second = registry.trainings.move("trn-01m851tmsxtvawc29xfv21sc6z", TrainingStatus.CREATE_IN_PROGRESS)
        template = registry.templates.create(TemplateSpec(name="nightly", workers=2))
        use = TemplateUse(id=template.id, name=template.name)
        third = registry.trainings.create(second.spec.changed(name="third"), second.experiment_id, template=use)
        registry.trainings.delete("trn-01m851tms59ezr1szcn437qsb3")
    with open_registry(url) as registry:  # there is nothing left to migrate
        assert registry.trainings.get("third") == third
        assert third.template == use
        assert registry.templates.get("nightly") == template
        assert {row.name for row in registry.trainings.page().items} == {"second", "third"}
